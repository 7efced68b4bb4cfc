"""Rows in shared memory and messages over sockets, whatever is sent and wherever it is cut."""

import os
import resource
import socket

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.serving.executor.channel import MOST_TEXT, Segment, receive_message, send_message


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 600_000), min_size=1, max_size=5))
def test_both_sides_see_the_same_rows_as_it_grows(counts):
    mine = Segment()
    theirs = Segment(os.dup(mine.descriptor))
    for count in counts:
        mine.reserve(count * 4)
        rows = np.arange(count, dtype=np.float32)
        mine.array(np.float32, count)[...] = rows
        theirs.follow(mine.size)
        np.testing.assert_array_equal(theirs.array(np.float32, count, 1)[:, 0], rows)
        theirs.array(np.float32, count)[...] = -rows
        theirs.taken = count
        np.testing.assert_array_equal(mine.array(np.float32, count), -rows)
        assert mine.taken == count
    assert mine.size == max(-(-(count * 4 + 64) // 2**20) for count in counts) * 2**20
    mine.close()
    theirs.close()


def test_what_is_taken_lasts_while_it_grows_and_what_cannot_be_had_is_refused():
    segment = Segment()
    segment.reserve(8)
    kept = segment.array(np.float64, 1)
    kept[0] = 3.0
    segment.reserve(2**21 - 64)
    assert kept[0] == segment.array(np.float64, 1)[0] == 3.0
    with pytest.raises(TypeError):
        segment.array(np.float64, 2**20)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**22, most))
    try:
        with pytest.raises(MemoryError):
            segment.reserve(2**23)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert segment.size == 2**21
    assert segment.put_text("ü" * MOST_TEXT) == MOST_TEXT and segment.text(MOST_TEXT) == "ü" * (MOST_TEXT // 2)
    segment.close()


texts = st.text(st.characters(codec="utf-8"), max_size=50)
messages = st.lists(
    st.dictionaries(texts, st.none() | st.integers() | texts | st.booleans(), max_size=5), min_size=1, max_size=5
)


@settings(deadline=None, max_examples=60)
@given(messages, st.integers(0, 2000))
def test_messages_arrive_whole_or_the_stream_has_ended(sent, cut):
    """However the stream is cut, what came before the cut is read and nothing else is."""
    mine, theirs = socket.socketpair()
    with mine, theirs:
        for message in sent:
            send_message(mine, message)
        mine.shutdown(socket.SHUT_WR)
        data = b""
        while chunk := theirs.recv(65536):
            data += chunk
    mine, theirs = socket.socketpair()
    with mine, theirs:
        mine.sendall(data[:cut])
        mine.shutdown(socket.SHUT_WR)
        got = []
        while (message := receive_message(theirs)) is not None:
            got.append(message)
    assert got == sent[: len(got)] and (len(got) == len(sent)) == (cut >= len(data))
