"""Bodies: how large one may be, and how much of all is held at once."""

import asyncio
import contextlib
import json
import select
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import FEATURES, call, server

from primum.serving.dataplane import Unavailable
from primum.serving.http.bodies import Bodies
from primum.serving.http.responses import HttpError
from primum.serving.limits import AT_ONCE, Room

MB = 2**20
INFER = "/v2/models/risk/infer"


def pieces(*sizes):
    """What an ASGI server says of a body that came so."""
    left = [{"body": bytes(size), "more_body": k < len(sizes) - 1} for k, size in enumerate(sizes)]

    async def receive():
        return left.pop(0)

    return receive


@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=5), max_size=60), st.data())
def test_never_more_is_held_than_allowed_and_nothing_stays_held(requests, data):
    """Requests come and are answered in any order; each is read, too large, or turned away for want of room."""
    bodies, open_, held = Bodies(Room(most_bytes=100)), [], 0
    for sizes in requests:
        scope, size = {"headers": []}, sum(sizes)
        counted = size if len(sizes) > 1 else 0
        try:
            assert len(asyncio.run(bodies.read(scope, pieces(*sizes)))) == size
            open_.append((scope, counted))
            held += counted
        except HttpError:
            assert size > 100
            bodies.release(scope)
        except Unavailable:
            assert held + counted > AT_ONCE * 100
            bodies.release(scope)
        assert held <= AT_ONCE * 100
        while open_ and data.draw(st.booleans()):
            scope, counted = open_.pop(data.draw(st.integers(0, len(open_) - 1)))
            bodies.release(scope)
            held -= counted
    for scope, _ in open_:
        bodies.release(scope)
    last = {"headers": []}
    for _ in range(AT_ONCE):
        asyncio.run(bodies.read({**last}, pieces(50, 50)))
    with pytest.raises(Unavailable):
        asyncio.run(bodies.read(last, pieces(1, 1)))


def test_many_large_bodies_at_once_are_turned_away_and_then_taken_again(artifact):
    body = json.dumps(
        {"inputs": [{"name": "input", "shape": [1, FEATURES], "datatype": "FP32", "data": [0.0] * FEATURES}]}
    ).encode()
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {MB}\r\n\r\n".encode()
    with server(f"risk={artifact}", "--max-body-mb", 1) as port, contextlib.ExitStack() as stack:
        slow = []
        for _ in range(AT_ONCE + 1):
            slow.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)))
            slow[-1].sendall(head + body + b" " * (MB - len(body) - 100))
        (turned,), _, _ = select.select(slow, [], [], 20)
        slow.remove(turned)
        refused = turned.recv(65536)
        while not refused.endswith(b"}"):
            refused += turned.recv(65536)
        assert refused.startswith(b"HTTP/1.1 503") and b"as many bytes of requests" in refused
        assert call(port, "POST", INFER, body)[0] == 200, "small ones are answered meanwhile"
        for one in slow:
            one.sendall(b" " * 100)
            assert one.recv(65536).startswith(b"HTTP/1.1 200")
        assert call(port, "POST", INFER, body + b" " * (MB - len(body)))[0] == 200
