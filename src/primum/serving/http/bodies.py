"""Bodies of requests: how large one may be, how much of all is held, and where large ones are decoded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from primum.serving.http.responses import HttpError
from primum.serving.limits import Room
from primum.serving.wire.body import LARGE
from primum.serving.wire.protocol import HEADER, Request, decode, decode_raw

Connection = dict[str, Any]
"""An ASGI scope."""
Receive = Callable[[], Awaitable[dict[str, Any]]]

_HELD = "primum.held"
"""Under this name a scope has how many bytes of its body are held."""
_HEADER = HEADER.encode()


class Bodies:
    """Of one server. Those that come in one piece, of 64 KB or less, take no room: connections are counted."""

    def __init__(self, room: Room) -> None:
        self._room = room
        # One: two that read large bodies would keep the event loop waiting for both.
        self._large = ThreadPoolExecutor(1, "large body")

    async def request(self, scope: Connection, receive: Receive, name: str, shape: tuple[int, ...]) -> Request:
        """What a body asks for by the protocol, of a model with one input, FP32 (N, *shape). Raises as `read`, and as
        `decode`.
        """
        length, header = None, None
        for key, value in scope["headers"]:
            if key == _HEADER:
                header = _number(HEADER, value)
            elif key == b"content-length":
                length = value
        body = await self._read(length, scope, receive)
        if header == 0:
            return decode_raw(name, shape, body)
        if (len(body) if header is None else header) <= LARGE:
            return decode(body, header)
        return await asyncio.get_running_loop().run_in_executor(self._large, decode, body, header)

    async def read(self, scope: Connection, receive: Receive) -> bytes:
        """Its bytes. Raises HttpError where they are too many, Unavailable where others leave no room for them."""
        return await self._read(dict(scope["headers"]).get(b"content-length"), scope, receive)

    def release(self, scope: Connection) -> None:
        """The request is answered."""
        self._room.give_back(scope.pop(_HELD, 0))

    async def _read(self, length: bytes | None, scope: Connection, receive: Receive) -> bytes:
        if length is not None and _number("content-length", length) > self._room.most_bytes:
            raise self._too_large()
        message = await receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            return body
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._room.most_bytes:
                raise self._too_large()
            self._hold(scope, size)
        return b"".join(parts)

    def _hold(self, scope: Connection, size: int) -> None:
        """So many bytes of this request are held until it is answered."""
        self._room.take(size - scope.get(_HELD, 0))
        scope[_HELD] = size

    def _too_large(self) -> HttpError:
        return HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {self._room.most_bytes} bytes")


def _number(name: str, value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise HttpError(HTTPStatus.BAD_REQUEST, f"{name} is a whole number")
    return int(value)
