"""A client's connection: how long it may take over a request, how large its head may be, how many there may be, and
what becomes of requests whose client has left, or whose server ends.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from time import monotonic
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from primum.serving.http.corked import Corked
from primum.serving.http.unread import may_be_shed, turn_away
from primum.serving.limits import Limits
from primum.serving.lobby import Lobby
from primum.serving.security.certificates import shown
from primum.serving.wire.protocol import error_body

TASK = "primum.task"
"""Under this name the application leaves the task that handles a request in its scope."""
LEFT = "primum.left"
"""Under this name the connection leaves in the scope that the client has left."""
CAME = "primum.came"
"""Under this name it leaves there when (`monotonic`) a request came that waited to be read."""
MOST_LINE, MOST_HEAD = 2**14, 2**16
"""Bytes of a request's target, and of all that is no body: its head, its trailer, or between the parts of a body."""
GRACE_S = 0.25
"""When the server ends: what has been sent by then on an idle connection is still answered."""
_CLOSE = (b"connection", b"close")
_LINGER_S = 0.5
"""For so long what a refused client goes on sending is thrown away: closed at once, it would be reset before it has
read why."""
_TLS_CLOSE_S = 1.0
"""For so long a client over TLS may take to agree that the connection ends."""

CERTIFICATE = "primum.certificate"
"""Under this name it finds there whom the client's certificate names; None where it showed none."""


class Connection(HttpToolsProtocol):  # type: ignore[misc]  # uvicorn's parser has no types
    """uvicorn's connection, within limits; `connection_class` makes it."""

    limits: Limits
    lobby: Lobby

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._arriving: float | None = None
        self._between = True
        self._certificate: str | None = None
        self._answering: Any = None
        """The cycle whose task runs, or ran last; `cycle` is the last whose head has arrived."""
        self._incoming: Any = None
        """The one whose body is arriving."""
        self._unread: tuple[float, bytes] | None = None
        """When it came, and what: it waits in the lobby."""
        self._head = self._quiet = 0
        self._fault = (HTTPStatus.BAD_REQUEST, "this is no HTTP/1.1")
        self._last_word: bytes | None = None
        """Once those that came before are answered; nothing more is read."""
        self._ending = False
        self._look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A client came."""
        super().connection_made(transport)
        self._corked = Corked(transport)
        if len(self.connections) > self.limits.most:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"more than {self.limits.most} connections")
            return
        self._certificate = shown(transport)
        self._arriving = monotonic()
        self._look = self.loop.call_later(self.limits.arrival_s, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has left: what it asked for, and has no answer yet, is given up."""
        self._unread = None
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)
        for cycle in (self._answering, self.cycle, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected, cycle.scope[LEFT] = True, True
                if TASK in cycle.scope:
                    cycle.scope[TASK].cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes came: they are read at once, or wait in the lobby."""
        if self._last_word is not None:
            return
        if self._unread is not None:  # it cannot wait any longer: what follows must not overtake it
            self._read_waiting()
            if self._last_word is not None:
                return
        elif not self.lobby.open and not self._ending and self._idle() and may_be_shed(data):
            self._unset_keepalive_if_required()
            self._unread, self._arriving = (self.lobby.wait(self, self.loop), data), None
            return
        self.lobby.pass_by(self.loop)
        self._read(data)

    def let_in(self, came: float) -> bool:
        """As the lobby's guest."""
        if self._unread is None or self._unread[0] != came:
            return False
        self._read_waiting()
        return True

    def turn_away(self, came: float) -> bool:
        """As the lobby's guest."""
        if self._unread is None or self._unread[0] != came:
            return False
        data, self._unread = self._unread[1], None
        turn_away(self.transport, data)
        if not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        return True

    def on_message_begin(self) -> None:
        """A request begins to arrive."""
        super().on_message_begin()
        self.scope[CERTIFICATE] = self._certificate
        self._arriving, self._between, self._head, self._incoming = monotonic(), False, 0, None

    def on_url(self, url: bytes) -> None:
        """A part of its target."""
        super().on_url(url)
        if len(self.url) > MOST_LINE:
            self._fault = HTTPStatus.REQUEST_URI_TOO_LONG, f"the request's path is longer than {MOST_LINE} bytes"
            raise ValueError(self._fault)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or one of the trailer."""
        self._quiet, self._head = 0, self._head + len(name) + len(value) + 4
        if self._head > MOST_HEAD:
            self._fault = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _TOO_LONG
            raise ValueError(self._fault)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Its head has arrived."""
        self._quiet = 0
        super().on_headers_complete()
        self._incoming = self.cycle
        if self._ending:
            self._make_last(self.cycle)

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._quiet = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """It has arrived."""
        super().on_message_complete()
        self._arriving, self._between, self._quiet, self._incoming = None, True, 0, None

    def on_response_complete(self) -> None:
        """It is answered."""
        self._corked.flush()
        super().on_response_complete()
        if self._last_word is not None and not self._unanswered(None):
            self.transport.write(self._last_word)
            self._linger()
        elif self._ending and self.transport.is_closing():
            self._end_tls()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no request, or too large a one."""
        self._refuse(*self._fault)

    def shutdown(self) -> None:
        """The server ends: what was sent is answered, the connection is used no more."""
        if self._unread is not None:
            self._read_waiting()
        self._ending = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._make_last(cycle)
        self.loop.call_later(GRACE_S, self._end)

    def _read_waiting(self) -> None:
        assert self._unread is not None
        (came, data), self._unread = self._unread, None
        try:
            self._read(data)
        except BaseException:
            self.transport.abort()
            raise
        self.scope[CAME] = came

    def _read(self, data: bytes) -> None:
        self._quiet += len(data)
        super().data_received(data)
        # A header that does not end is put together from all its parts again with each: it must not become long.
        if self._quiet > MOST_HEAD and not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _TOO_LONG)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering, cycle.transport = cycle, self._corked
        super()._start_asgi_task(cycle, app)

    def _make_last(self, cycle: Any) -> None:
        """The connection closes with this one's answer, which says so."""
        cycle.keep_alive = False
        if not cycle.response_started and _CLOSE not in cycle.scope["headers"]:
            cycle.scope["headers"].append(_CLOSE)

    def _end(self, turns: int = 2) -> None:
        """Hang up where nothing is under way, once what lies in the socket has been read."""
        if self.transport.is_closing() or self._last_word is not None:
            return
        if turns:
            self.loop.call_soon(self._end, turns - 1)
        elif not self._between:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "the server ends; the request has not arrived whole")
        elif self._idle():
            self._hang_up()

    def _linger(self) -> None:
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self._hang_up)

    def _hang_up(self) -> None:
        self.transport.close()
        self._end_tls()

    def _end_tls(self) -> None:
        if self.scheme == "https":
            self.loop.call_later(_TLS_CLOSE_S, self._abort)

    def _abort(self) -> None:
        if self.transport.get_write_buffer_size():
            self._end_tls()
        else:
            self.transport.abort()

    def _idle(self) -> bool:
        """No request is arriving, none is being answered."""
        return self._between and not self._unanswered(None)

    def _unanswered(self, besides: Any) -> bool:
        """Whether requests wait for their answer, besides one."""
        running = self._answering
        return bool(self.pipeline) or not (running is None or running is besides or running.response_complete)

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
        """Answer what is no request that can be handled, after those before it, and hang up; once."""
        if self._last_word is not None:
            return
        # Its head may have arrived; then it waits among the others, or is being handled.
        faulty = self._incoming
        for waiting in [one for one in self.pipeline if one[0] is faulty]:
            self.pipeline.remove(waiting)
        body = error_body(text)
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self._last_word, self._arriving = head.encode() + body, None
        if self._unanswered(faulty):
            return
        if faulty is None or not faulty.response_started:
            self.transport.write(self._last_word)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self._hang_up()
        else:
            self._linger()


_TOO_LONG = f"the request's head is longer than {MOST_HEAD} bytes"


def connection_class(limits: Limits, lobby: Lobby) -> type[Connection]:
    """The protocol that uvicorn makes for each connection."""
    return type("LimitedConnection", (Connection,), {"limits": limits, "lobby": lobby})
