import pytest

from primum.serving.http.corked import Corked

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Wire:
    """A transport that tells its calls."""

    def __init__(self):
        self.calls, self.closed = [], False

    def write(self, data):
        assert not self.closed
        self.calls.append(data)

    def writelines(self, parts):
        self.write(b"".join(parts))

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed


@pytest.fixture
def wire():
    return Wire()


def test_head_and_body_are_one_call(wire):
    corked = Corked(wire)
    for _ in range(2):
        corked.write(HEAD)
        corked.write(b"{}")
    assert wire.calls == [HEAD + b"{}"] * 2


def test_a_body_that_looks_like_a_head_follows_its_head(wire):
    corked = Corked(wire)
    corked.write(HEAD)
    corked.write(HEAD)
    assert wire.calls == [HEAD + HEAD]


@pytest.mark.parametrize("end", [Corked.flush, Corked.close])
def test_a_head_without_a_body_is_written_in_the_end(wire, end):
    corked = Corked(wire)
    corked.write(HEAD)
    assert not wire.calls
    end(corked)
    end(corked)
    assert wire.calls == [HEAD] and corked.is_closing() is (end is Corked.close)


def test_who_waits_to_send_a_body_is_told_at_once(wire):
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    corked = Corked(wire)
    corked.write(interim)
    assert wire.calls == [interim]
    corked.write(HEAD)
    corked.write(b"{}")
    assert wire.calls == [interim, HEAD + b"{}"]
