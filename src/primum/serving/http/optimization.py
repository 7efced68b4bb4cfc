"""Optimizations over HTTP: ask for one, follow it, end it; and the state of the whole service as data."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from primum.serving.dataplane import DataPlane, NotFound
from primum.serving.http.responses import HttpError
from primum.serving.http.routing import Call, Route, response
from primum.serving.security.access import Scope
from primum.serving.studies.jobs import Conflict, Jobs
from primum.serving.studies.status import Status

_JOBS = "/optimization/jobs"


class _Asked(msgspec.Struct):
    model_name: str
    optimization_level: str
    target_platforms: tuple[str, ...] = ("server",)


class OptimizationPaths:
    """Answers the paths below /optimization but batch-predict."""

    def __init__(self, plane: DataPlane, jobs: Jobs | None) -> None:
        """`jobs`: None where the operator lets nothing be optimized."""
        self._given, self._status = jobs, Status(plane.repository, jobs, plane.worker)

    def routes(self) -> tuple[Route, ...]:
        """Their rows of the table."""
        return (
            Route("GET", "/optimization/status", Scope.METRICS, "status", self._tell),
            Route("POST", "/optimization/optimize-model", Scope.OPTIMIZE, "optimize", self._submit, True),
            Route("GET", _JOBS, Scope.OPTIMIZE, "jobs", self._list),
            Route("GET", f"{_JOBS}/*", Scope.OPTIMIZE, "job", self._show),
            Route("DELETE", f"{_JOBS}/*", Scope.OPTIMIZE, "cancel", self._cancel, True),
        )

    @property
    def _jobs(self) -> Jobs:
        if self._given is None:
            raise NotFound("nothing may be optimized here: the server was started without --studies")
        return self._given

    async def _tell(self, call: Call) -> Any:
        return self._status.told()

    async def _submit(self, call: Call) -> Any:
        asked = await call.read_as(_Asked)
        jobs = self._jobs
        try:
            job = jobs.submit(asked.model_name, asked.optimization_level, asked.target_platforms)
        except Conflict as error:
            raise HttpError(HTTPStatus.CONFLICT, str(error)) from error
        call.note.model, call.note.id = job.model_name, job.id
        answer = response(jobs.told(job), HTTPStatus.ACCEPTED)
        answer.headers.append((b"location", f"{_JOBS}/{job.id}".encode()))
        return answer

    async def _list(self, call: Call) -> Any:
        return {"jobs": [self._jobs.told(job) for job in self._jobs.all()]}

    async def _show(self, call: Call) -> Any:
        job = self._jobs.get(call.names[0])
        call.note.model, call.note.id = job.model_name, job.id
        return self._jobs.told(job)

    async def _cancel(self, call: Call) -> Any:
        job = await self._jobs.cancel(call.names[0])
        call.note.model, call.note.id = job.model_name, job.id
        return self._jobs.told(job)
