"""A client's connection: how long it may take over a request, how many there may be, and what becomes of a request
whose client has left.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from primum.serving.http.unread import may_be_shed, turn_away
from primum.serving.protocol import error_body
from primum.serving.shedding import Shedding

TASK = "primum.task"
"""Under this name the application leaves the task that handles a request in its scope."""


@dataclass(frozen=True)
class Limits:
    """Of connections. `arrival_s`: between the first byte of a request, or of a connection, and the last byte."""

    arrival_s: float = 30.0
    most: int = 4096


class Connection(HttpToolsProtocol):  # type: ignore[misc]  # uvicorn's parser has no types
    """uvicorn's connection, within limits; `connection_class` makes it."""

    limits: Limits
    shedding: Shedding

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._arriving: float | None = None
        self._between = True
        self._look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A client came."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.most:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"more than {self.limits.most} connections")
            return
        self._arriving = monotonic()
        self._look = self.loop.call_later(self.limits.arrival_s, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has left: what it asked for, and has no answer yet, is given up."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)
        for cycle in (self.cycle, *(waiting for waiting, _ in self.pipeline)):
            task = None if cycle is None or cycle.response_complete else cycle.scope.get(TASK)
            if task is not None:
                task.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes came: they are read, or turned away unread."""
        if self.shedding.full and self._idle() and may_be_shed(data):
            self.shedding.refuse(self.loop)
            self._arriving = None
            turn_away(self.transport, data)
            return
        self.shedding.take(self.loop)
        super().data_received(data)
        self.shedding.taken(self.loop)

    def on_message_begin(self) -> None:
        """A request begins to arrive."""
        super().on_message_begin()
        self._arriving, self._between = monotonic(), False

    def on_message_complete(self) -> None:
        """It has arrived."""
        super().on_message_complete()
        self._arriving, self._between = None, True

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no request."""
        self._refuse(HTTPStatus.BAD_REQUEST, "this is no HTTP/1.1")

    def _idle(self) -> bool:
        """No request is arriving, none is being answered."""
        return self._between and (self.cycle is None or self.cycle.response_complete)

    def _check(self) -> None:
        """Whether what began to arrive has arrived; looks again in time."""
        since, wait = self._arriving, self.limits.arrival_s
        if since is not None:
            wait = since + self.limits.arrival_s - monotonic()
            if wait <= 0:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"the request took over {self.limits.arrival_s:g} s to arrive")
                return
        self._look = self.loop.call_later(wait, self._check)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer what is no request that can be handled, and hang up."""
        begun = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if not begun:
            body = error_body(text)
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(head.encode() + body)
        self.transport.close()


def connection_class(limits: Limits, shedding: Shedding) -> type[Connection]:
    """The protocol that uvicorn makes for each connection."""
    return type("LimitedConnection", (Connection,), {"limits": limits, "shedding": shedding})
