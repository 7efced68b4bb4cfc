"""One bad request beside 31 good ones, all at once: how many of the good are answered."""

from __future__ import annotations

import random
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from wires import Message

_LIMIT_S = 15.0


@dataclass(frozen=True)
class Burst:
    """`bad`: the status that the bad request got; `good`: how many of the others got 200; 0 is no answer."""

    bad: int
    good: int
    others: tuple[int, ...]
    """What the good ones that failed got."""


def burst(port: int, good: Sequence[Message], bad: Message, seed: int) -> Burst:
    """Send all on connections that are open already, the bad one at a place among them that `seed` gives."""
    rng = random.Random(seed)
    place = rng.randrange(len(good) + 1)
    messages = [*good[:place], bad, *good[place:]]
    sockets = [socket.create_connection(("127.0.0.1", port), timeout=_LIMIT_S) for _ in messages]
    try:
        time.sleep(0.05)
        for one, message in zip(sockets, messages, strict=True):
            one.sendall(_request(port, message))
        statuses = _statuses(sockets)
    finally:
        for one in sockets:
            one.close()
    rest = [status for k, status in enumerate(statuses) if k != place]
    return Burst(statuses[place], rest.count(200), tuple(s for s in rest if s != 200))


def _request(port: int, message: Message) -> bytes:
    lines = [f"POST {message.path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Type: {message.type}"]
    lines += [f"Content-Length: {len(message.body)}", *message.headers, "", ""]
    return "\r\n".join(lines).encode() + message.body


def _statuses(sockets: Sequence[socket.socket]) -> list[int]:
    """The status line of each answer suffices."""
    got, end = dict.fromkeys(sockets, b""), time.monotonic() + _LIMIT_S
    with selectors.DefaultSelector() as selector:
        for one in sockets:
            selector.register(one, selectors.EVENT_READ)
        while selector.get_map() and (left := end - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                try:
                    part = ready.recv(65536)
                except OSError:
                    part = b""
                got[ready] += part
                if not part or b"\r\n" in got[ready]:
                    selector.unregister(ready)
    return [_status(data) for data in got.values()]


def _status(data: bytes) -> int:
    words = data.partition(b"\r\n")[0].split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
