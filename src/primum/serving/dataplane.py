"""What every protocol face does with a request: who asks, which model, the answer, and the note of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial

from prometheus_client.core import Metric

from primum.errors import PrimumError
from primum.serving.ladder.flip_test import FlipTest
from primum.serving.ladder.rung import Rung
from primum.serving.lobby import Lobby
from primum.serving.model import ServedModel
from primum.serving.observability.metrics import AuditCollector, RequestCollector, ServerCollector, exposition
from primum.serving.repository import Repository
from primum.serving.security.access import ANYBODY, Access, Caller, Scope
from primum.serving.security.audit import AuditLog, Event
from primum.serving.wire.protocol import Request
from primum.serving.worker import Worker

_WRITE_S = 0.1
"""Between writes of the audit log: what a power cut may take."""
_LOG = logging.getLogger("primum.serving")


class NotFound(PrimumError):
    """There is no such model, version or path."""


class Unavailable(PrimumError):
    """Nothing is answered for now."""


@dataclass
class Note:
    """What the audit log is told of a request, as far as its handling came."""

    model: str = ""
    sha256: str = ""
    """Of the artifact that answered; empty where none did."""
    id: str = ""
    cases: int = 0


class DataPlane:
    """The models, who may ask them, and the log of who did."""

    def __init__(
        self,
        repository: Repository,
        access: Access | None = None,
        audit: AuditLog | None = None,
        worker: Worker | None = None,
    ) -> None:
        """`worker`: which of several servers on one port this is; None where it is the only one."""
        self.worker = worker
        self.repository, self.access, self.audit = repository, access or Access(), audit
        self.lobby = Lobby()
        repository.welcome = self._welcome
        self._writer: asyncio.Task[None] | None = None
        self.ended: Counter[tuple[str, str, int]] = Counter()
        """Requests of callers, by what was asked for, model and status."""
        self.unrecorded = 0
        """Requests refused because they could not have been taken down."""

    def metrics(self) -> bytes:
        """All counters and gauges in Prometheus' text format."""
        return exposition(self.families())

    def families(self) -> list[Metric]:
        """All counters and gauges."""
        log = None if self.audit is None else (self.audit.failing, self.audit.waiting, self.unrecorded)
        return self.repository.families(ServerCollector(self.lobby), RequestCollector(self.ended), AuditCollector(log))

    async def start(self) -> None:
        """Load and measure the models."""
        await self.repository.start()
        if self.audit is not None:
            self._writer = asyncio.create_task(self._write(self.audit))

    async def stop(self) -> None:
        """Answer what is here, refuse what comes, write the log."""
        await self.repository.stop()
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
        if self.audit is not None:
            await asyncio.to_thread(self.audit.close)

    def admit(
        self, authorization: bytes | None, api_key: bytes | None, wanted: Scope, certificate: str | None = None
    ) -> Caller:
        """Who asks, on a connection whose certificate names `certificate`. Raises AccessDenied."""
        return ANYBODY if self.access.open else self.access.admit(authorization, api_key, wanted, certificate)

    def model(self, name: str, version: str = "") -> ServedModel:
        """The model, in that version where one is named. Raises NotFound."""
        model = self.repository.get(name)
        if model is None:
            raise NotFound(f"no model of that name; there are: {', '.join(self.repository.names)}")
        if version and version != model.rung.version:
            raise NotFound(f"model {model.name!r} is here in version {model.rung.version}")
        return model

    def check_log(self) -> None:
        """Raises Unavailable where a request could not be taken down."""
        if self.audit is not None and self.audit.failing:
            self.unrecorded += 1
            raise Unavailable("the audit log cannot be written, so nothing is answered")

    def take_down(
        self, who: str, model: ServedModel | None, rung: Rung | None, request: Request | None, status: int
    ) -> None:
        """Note in the log how a request ended; `rung`: the artifact that answered it."""
        self.ended["infer", "" if model is None else model.name, status] += 1
        if self.audit is not None:
            known = ("" if model is None else model.name, "" if rung is None else rung.digest)
            told = ("", 0) if request is None else (request.id or "", request.cases)
            self.audit.add(Event(time.time(), who, "infer", *known, *told, status))

    def note(self, who: str, what: str, note: Note, status: int, by_caller: bool = True) -> None:
        """Note in the log how a request of any other kind ended, or with `by_caller` False what nobody requested;
        `what`: what was asked for.
        """
        if by_caller:
            self.ended[what, note.model, status] += 1
        if self.audit is not None:
            self.audit.add(Event(time.time(), who, what, note.model, note.sha256, note.id, note.cases, status))

    def _welcome(self, model: ServedModel) -> None:
        model.shadow.told = partial(self._barred, model.name)

    def _barred(self, name: str, test: FlipTest) -> None:
        """Note in the log that an artifact answers no more."""
        if self.audit is not None:
            self.audit.add(Event(time.time(), "shadow sampling", "barred", name, test.sha256, "", test.cases, 0))

    async def _write(self, audit: AuditLog) -> None:
        while True:
            await asyncio.sleep(_WRITE_S)
            was = audit.failure
            await asyncio.to_thread(audit.write)
            if audit.failure != was:
                _LOG.error("audit log: %s", audit.failure or "written again")
