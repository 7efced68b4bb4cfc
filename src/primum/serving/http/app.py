"""The server as an ASGI application: Open Inference Protocol v2, health, metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from time import monotonic
from typing import Any, Protocol

import msgspec

from primum.serving.dataplane import DataPlane, Note, NotFound, Unavailable
from primum.serving.http.bodies import Bodies, Connection, Receive
from primum.serving.http.connection import CAME, CERTIFICATE, LEFT, TASK
from primum.serving.http.openapi import document
from primum.serving.http.origin import demand_own
from primum.serving.http.pages import page
from primum.serving.http.responses import JSON, HttpError, Response, failure
from primum.serving.http.routing import QUERY, Call, Found, Route, Routes, parsed_query
from primum.serving.http.witness import Witness
from primum.serving.limits import Room
from primum.serving.model import INPUT, ServedModel
from primum.serving.options import MOST_BYTES
from primum.serving.security.access import Caller, Scope
from primum.serving.siblings import Siblings
from primum.serving.wire.protocol import EXTENSIONS, HEADER, encode
from primum.version import VERSION

Send = Callable[[dict[str, Any]], Awaitable[None]]

CLIENT_LEFT = 499
"""In the audit log: whoever asked was gone before the answer. nginx's number; HTTP has none."""
_HEADER = HEADER.encode()
_LOG = logging.getLogger("primum.serving")
_BINARY = (b"content-type", b"application/octet-stream")


class Companion(Protocol):
    """What lives as long as the server."""

    async def start(self) -> None:
        """When the models are ready."""

    async def stop(self) -> None:
        """Before the models are released."""


class App:
    """Routes requests to the data plane. `room`: for bodies, here and elsewhere; `witness`: who notes each request."""

    def __init__(
        self,
        plane: DataPlane,
        room: Room | None = None,
        companions: Sequence[Companion] = (),
        routes: Sequence[Route] = (),
        witness: Witness | None = None,
        siblings: Siblings | None = None,
    ) -> None:
        """`routes`: beside inference, which is not looked up among them; `siblings`: the other workers' metrics."""
        self.plane, self._companions, self._witness = plane, companions, witness
        self._siblings = siblings
        self._routes, self._bodies = Routes(routes), Bodies(room or Room(MOST_BYTES))

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """One connection's request, or the life of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"a {scope['type']} connection is not served")
        scope[TASK] = asyncio.current_task()
        try:
            if self._witness is None:
                response = await self._handle(scope, receive)
            else:
                response = await self._witness.handled(scope, lambda: self._handle(scope, receive))
        except asyncio.CancelledError:
            if scope.get(LEFT):
                return  # nobody reads an answer
            response = failure(_ended())
        finally:
            self._bodies.release(scope)
        length = (b"content-length", str(len(response.body)).encode())
        await send(
            {"type": "http.response.start", "status": int(response.status), "headers": [*response.headers, length]}
        )
        await send({"type": "http.response.body", "body": response.body})

    async def _handle(self, scope: Connection, receive: Receive) -> Response:
        try:
            response = await self._respond(scope, receive)
        # Whatever goes wrong is this request's alone, and is answered.
        except Exception as error:  # noqa: BLE001
            response = failure(error)
        if response.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            _LOG.error("a request failed: %s", response.body.decode())
        return response

    async def _respond(self, scope: Connection, receive: Receive) -> Response:
        path, method = scope["path"], scope["method"]
        parts = path.strip("/").split("/")
        if parts[0] == "v2" and len(parts) >= 4 and parts[1] == "models" and parts[-1] == "infer":
            _only(method, "POST")
            return await self._answer(parts[2:-1], scope, receive)
        if parts == ["metrics"]:
            _only(method, "GET")
            self._admit(scope, Scope.METRICS)
            text = self.plane.metrics() if self._siblings is None else await self._siblings.metrics()
            return Response(HTTPStatus.OK, [(b"content-type", b"text/plain; version=0.0.4")], text)
        if parts == ["openapi.json"]:
            _only(method, "GET")
            return _json(document(self.plane.repository.names, not self.plane.access.open), True)
        if (file := page("/".join(parts))) is not None:
            _only(method, "GET")
            return file
        if (found := self._routes.find(method, parts)) is not None:
            return await self._routed(found, scope, receive)
        if parts[0] != "v2":
            raise NotFound("no such path; the protocol begins at /v2")
        _only(method, "GET")
        if parts[1:2] != ["health"]:
            self._admit(scope, Scope.INFER)
        return _json(*self._described(parts[1:]))

    def _admit(self, scope: Connection, wanted: Scope) -> Caller:
        headers = {} if self.plane.access.open else dict(scope["headers"])
        certificate = scope.get(CERTIFICATE)
        return self.plane.admit(headers.get(b"authorization"), headers.get(b"x-api-key"), wanted, certificate)

    def _described(self, parts: list[str]) -> tuple[dict[str, Any], bool]:
        """What a path below /v2 tells, and whether that is good."""
        repository = self.plane.repository
        if not parts:
            return {"name": "primum", "version": VERSION, "extensions": list(EXTENSIONS)}, True
        if parts == ["health", "live"]:
            return {"live": True}, True
        if parts == ["health", "ready"]:
            return {"live": True, "ready": repository.ready}, repository.ready
        if parts[0] == "models" and len(parts) >= 2:
            asks_ready = parts[-1] == "ready" and len(parts) > 2
            model = self._model(parts[1:-1] if asks_ready else parts[1:])
            ready = repository.started and model.alive
            return ({"name": model.name, "ready": ready}, ready) if asks_ready else (model.metadata(), True)
        raise NotFound("no such path")

    def _model(self, parts: list[str]) -> ServedModel:
        """The model of [name] or [name, "versions", version]."""
        if len(parts) == 1:
            return self.plane.model(parts[0])
        if len(parts) == 3 and parts[1] == "versions" and parts[2]:
            return self.plane.model(parts[0], parts[2])
        raise NotFound("no such path")

    async def _answer(self, name: list[str], scope: Connection, receive: Receive) -> Response:
        """Infer, and take down who asked and how it ended."""
        self.plane.check_log()
        who, model, request, rung = "", None, None, None
        try:
            who = self._admit(scope, Scope.INFER).name
            model = self._model(name)
            request = await self._bodies.request(scope, receive, INPUT, model.input_shape)
            outputs, rung = await model.infer(request.inputs, request.priority, _left(request.timeout_s, scope, model))
            body, head = encode(model.name, rung.version, request.id, outputs, request, rung.said)
            extra = [JSON] if head is None else [_BINARY, (_HEADER, str(head).encode())]
            response = Response(HTTPStatus.OK, extra, body)
        # Taken down like an answer, then answered as it would have been.
        except Exception as error:  # noqa: BLE001
            response = failure(error)
        except asyncio.CancelledError:
            if scope.get(LEFT):
                self.plane.take_down(who, model, None, request, CLIENT_LEFT)
                raise
            rung, response = None, failure(_ended())
        self.plane.take_down(who, model, rung, request, int(response.status))
        return response

    async def _routed(self, found: Found, scope: Connection, receive: Receive) -> Response:
        """Answer by the table, and take down who asked and how it ended."""
        self.plane.check_log()
        who, note = "", Note()
        try:
            who = self._admit(scope, found.route.scope).name
            headers = dict(scope["headers"])
            if found.route.changes:
                demand_own(headers, self.plane.access.open)
            call = Call(
                found.names,
                parsed_query(scope["query_string"], QUERY),
                headers.get(b"content-type", b"").decode("latin-1"),
                lambda: self._bodies.read(scope, receive),
                note,
                scope.get(CAME),
            )
            answer = await found.route.handler(call)
            response = answer if isinstance(answer, Response) else _json(answer, True)
        # Taken down like an answer, then answered as it would have been.
        except Exception as error:  # noqa: BLE001
            response = failure(error)
        except asyncio.CancelledError:
            if scope.get(LEFT):
                self.plane.note(who, found.route.what, note, CLIENT_LEFT)
                raise
            response = failure(_ended())
        self.plane.note(who, found.route.what, note, int(response.status))
        return response

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.plane.start()
                    for companion in self._companions:
                        await companion.start()
                except Exception as error:  # noqa: BLE001  the server reports it and ends
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                for companion in self._companions:
                    await companion.stop()
                await self.plane.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _left(timeout_s: float | None, scope: Connection, model: ServedModel) -> float | None:
    """Of a request's time, its own or the model's default: it runs while it waits to be read, too."""
    came: float | None = scope.get(CAME)
    allowed = timeout_s if came is None else model.allowed_s(timeout_s)
    return allowed if came is None or allowed is None else max(allowed - (monotonic() - came), 1e-9)


def _ended() -> Unavailable:
    """The server's patience at its end is over."""
    return Unavailable("the server ended before this was answered")


def _only(method: str, allowed: str) -> None:
    if method != allowed and not (method == "HEAD" and allowed == "GET"):
        raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, f"this path takes {allowed}")


def _json(value: Any, good: bool) -> Response:
    status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(status, [JSON], msgspec.json.encode(value))
