"""The server as an ASGI application: Open Inference Protocol v2, health, metrics."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import msgspec

from primum.serving.access import ANYBODY, Access, Caller, Scope
from primum.serving.audit import AuditLog, Event
from primum.serving.http.responses import JSON, HttpError, Response, failure
from primum.serving.model import ServedModel
from primum.serving.protocol import EXTENSIONS, HEADER, Request, decode, encode, finite
from primum.serving.repository import Repository
from primum.version import VERSION

Connection = dict[str, Any]
"""An ASGI scope."""
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_HEADER = HEADER.encode()
_LOG = logging.getLogger("primum.serving")
_WRITE_S = 0.1
"""Between writes of the audit log: what a power cut may take."""
_BINARY = (b"content-type", b"application/octet-stream")


class App:
    """Routes requests to the models of a repository. `most_bytes`: the largest body taken."""

    def __init__(
        self,
        repository: Repository,
        access: Access | None = None,
        audit: AuditLog | None = None,
        most_bytes: int = 64 * 2**20,
    ) -> None:
        self.repository, self._most_bytes = repository, most_bytes
        self._access, self._audit = access or Access(), audit
        self._writer: asyncio.Task[None] | None = None

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """One connection's request, or the life of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"a {scope['type']} connection is not served")
        try:
            response = await self._respond(scope, receive)
        # Whatever goes wrong is this request's alone, and is answered.
        except Exception as error:  # noqa: BLE001
            response = failure(error)
            if response.status == HTTPStatus.INTERNAL_SERVER_ERROR:
                _LOG.error("a request failed: %s", type(error).__name__)
        length = (b"content-length", str(len(response.body)).encode())
        await send(
            {"type": "http.response.start", "status": int(response.status), "headers": [*response.headers, length]}
        )
        await send({"type": "http.response.body", "body": response.body})

    async def _respond(self, scope: Connection, receive: Receive) -> Response:
        path, method = scope["path"], scope["method"]
        parts = path.strip("/").split("/")
        if parts[0] == "v2" and len(parts) >= 4 and parts[1] == "models" and parts[-1] == "infer":
            _only(method, "POST")
            return await self._answer(parts[2:-1], scope, receive)
        if parts == ["metrics"]:
            _only(method, "GET")
            self._admit(scope, Scope.METRICS)
            return Response(HTTPStatus.OK, [(b"content-type", b"text/plain; version=0.0.4")], self.repository.metrics())
        if parts[0] != "v2":
            raise HttpError(HTTPStatus.NOT_FOUND, "no such path; the protocol begins at /v2")
        _only(method, "GET")
        if parts[1:2] != ["health"]:
            self._admit(scope, Scope.INFER)
        return _json(*self._described(parts[1:]))

    def _admit(self, scope: Connection, wanted: Scope) -> Caller:
        """Who asks. Raises AccessDenied."""
        if self._access.open:
            return ANYBODY
        headers = dict(scope["headers"])
        return self._access.admit(headers.get(b"authorization"), headers.get(b"x-api-key"), wanted)

    async def _answer(self, name: list[str], scope: Connection, receive: Receive) -> Response:
        """Infer, and take down who asked and how it ended."""
        if self._audit is None:
            self._admit(scope, Scope.INFER)
            return (await self._infer(self._model(name), scope, receive))[0]
        if self._audit.failing:
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, "the audit log cannot be written, so nothing is answered")
        who, model, asked = "", None, None
        try:
            who = self._admit(scope, Scope.INFER).name
            model = self._model(name)
            response, asked = await self._infer(model, scope, receive)
        # Taken down like an answer, then answered as it would have been.
        except Exception as error:  # noqa: BLE001
            response = failure(error)
        known = ("", "") if model is None else (model.name, model.digest)
        told = ("", 0) if asked is None else (asked.id or "", asked.cases)
        self._audit.add(Event(time.time(), who, "infer", *known, *told, int(response.status)))
        return response

    def _described(self, parts: list[str]) -> tuple[dict[str, Any], bool]:
        """What a path below /v2 tells, and whether that is good."""
        if not parts:
            return {"name": "primum", "version": VERSION, "extensions": list(EXTENSIONS)}, True
        if parts == ["health", "live"]:
            return {"live": True}, True
        if parts == ["health", "ready"]:
            ready = self.repository.ready
            return {"live": True, "ready": ready}, ready
        if parts[0] == "models" and len(parts) >= 2:
            asks_ready = parts[-1] == "ready" and len(parts) > 2
            model = self._model(parts[1:-1] if asks_ready else parts[1:])
            if asks_ready:
                return {"name": model.name, "ready": self.repository.ready}, self.repository.ready
            return model.metadata(), True
        raise HttpError(HTTPStatus.NOT_FOUND, "no such path")

    def _model(self, parts: list[str]) -> ServedModel:
        """The model of [name] or [name, "versions", version]."""
        if len(parts) not in (1, 3) or (len(parts) == 3 and parts[1] != "versions"):
            raise HttpError(HTTPStatus.NOT_FOUND, "no such path")
        model = self.repository.get(parts[0])
        if model is None:
            known = ", ".join(self.repository.names)
            raise HttpError(HTTPStatus.NOT_FOUND, f"no model of that name; there are: {known}")
        if len(parts) == 3 and parts[2] != model.version:
            raise HttpError(HTTPStatus.NOT_FOUND, f"model {model.name!r} is here in version {model.version}")
        return model

    async def _infer(self, model: ServedModel, scope: Connection, receive: Receive) -> tuple[Response, Request]:
        length, header = None, None
        for key, value in scope["headers"]:
            if key == _HEADER:
                header = _number(HEADER, value)
            elif key == b"content-length":
                length = _number("content-length", value)
        if length is not None and length > self._most_bytes:
            raise self._too_large()
        request = decode(await self._body(receive), header)
        outputs = await model.infer(request.inputs, request.priority, request.timeout_s)
        if not all(finite(array) for array in outputs.values()):
            raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "the model gave no finite answer")
        body, head = encode(model.name, model.version, request.id, outputs, request, {})
        if head is None:
            return Response(HTTPStatus.OK, [JSON], body), request
        return Response(HTTPStatus.OK, [_BINARY, (_HEADER, str(head).encode())], body), request

    async def _body(self, receive: Receive) -> bytes:
        message = await receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            return body
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._most_bytes:
                raise self._too_large()
        return b"".join(parts)

    def _too_large(self) -> HttpError:
        return HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {self._most_bytes} bytes")

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.repository.start()
                except Exception as error:  # noqa: BLE001  the server reports it and ends
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                if self._audit is not None:
                    self._writer = asyncio.create_task(self._write(self._audit))
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.repository.stop()
                await self._close_audit()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _write(self, audit: AuditLog) -> None:
        while True:
            await asyncio.sleep(_WRITE_S)
            was = audit.failure
            await asyncio.to_thread(audit.write)
            if audit.failure != was:
                _LOG.error("audit log: %s", audit.failure or "written again")

    async def _close_audit(self) -> None:
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
        if self._audit is not None:
            await asyncio.to_thread(self._audit.close)


def _only(method: str, allowed: str) -> None:
    if method != allowed and not (method == "HEAD" and allowed == "GET"):
        raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, f"this path takes {allowed}")


def _json(value: Any, good: bool) -> Response:
    status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(status, [JSON], msgspec.json.encode(value))


def _number(name: str, value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise HttpError(HTTPStatus.BAD_REQUEST, f"{name} is a whole number")
    return int(value)
