"""Optimizations in the background: a bounded queue, one study at a time, in a process that lets serving go first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from primum.errors import InputError, PrimumError, StorageError
from primum.level import OptimizationLevel
from primum.serving.dataplane import NotFound, Unavailable
from primum.serving.studies.job import MOST_KEPT, History, Job, Result, State, new_id, now
from primum.serving.studies.offered import Studies
from primum.serving.studies.process import StudyProcess, end_left_over, read_progress

MOST_QUEUED = 8
PLATFORMS = ("server",)
"""What this version makes artifacts for."""
_KNOWN = ("server", "mobile", "batch")
"""What may be named."""
_NOT_ACCEPTED = 3
"""Exit status of a study of which no candidate was accepted: the lossless original is its result."""
_LOG = logging.getLogger("primum.serving")


class Conflict(PrimumError):
    """The same is under way already."""


class Jobs:
    """The jobs of one server; belongs to one event loop. Lives as long as the server (a Companion)."""

    def __init__(self, studies: Studies) -> None:
        self._studies = studies
        self._history = History(studies.out / "jobs.jsonl")
        self._jobs: dict[str, Job] = {}
        self._queue: asyncio.Queue[Job] = asyncio.Queue()
        self._runner: asyncio.Task[None] | None = None
        self._process: StudyProcess | None = None
        self._open = False

    @property
    def names(self) -> tuple[str, ...]:
        """What may be optimized."""
        return tuple(self._studies.by_name)

    async def start(self) -> None:
        """Read the history; what a server before this one left unfinished was interrupted. Raises InputError."""
        for job in self._history.open():
            self._jobs[job.id] = job
            if not job.state.ended:
                if job.process is not None and end_left_over(job.process):
                    _LOG.warning("job %s outlived its server and was ended", job.id)
                self._settle(job, State.INTERRUPTED)
        self._open = True
        self._runner = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End what runs, and everything it started."""
        self._open = False
        for job in self._jobs.values():
            if not job.state.ended:
                self._settle(job, State.INTERRUPTED)
        if self._process is not None:
            await self._process.end()
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        self._history.close()

    def submit(self, model_name: str, level: str, platforms: Sequence[str]) -> Job:
        """A new job, in the queue. Raises NotFound, InputError, Conflict where the same is under way, Unavailable."""
        if model_name not in self._studies.by_name:
            raise NotFound(f"nothing of that name may be optimized; there is: {', '.join(self.names)}")
        levels = [one.value for one in OptimizationLevel]
        if level not in levels:
            raise InputError(f"optimization_level is one of {', '.join(levels)}")
        _check_platforms(platforms)
        if not self._open:
            raise Unavailable("the server is starting or ending")
        unfinished = [job for job in self._jobs.values() if not job.state.ended]
        job = Job(
            id=new_id(),
            model_name=model_name,
            optimization_level=OptimizationLevel(level),
            target_platforms=tuple(dict.fromkeys(platforms)),
            created=now(),
        )
        for other in unfinished:
            if other.folder == job.folder:
                raise Conflict(f"that is under way as job {other.id}")
        if len(unfinished) > MOST_QUEUED:
            raise Unavailable(f"{MOST_QUEUED} jobs wait already; ask again later")
        self._history.write(job)
        self._jobs[job.id] = job
        self._forget()
        self._queue.put_nowait(job)
        return job

    async def cancel(self, id: str) -> Job:
        """End a job, with all its processes; one that has ended stays as it is. Raises NotFound."""
        job = self.get(id)
        if not job.state.ended:
            running = job.state is State.RUNNING
            self._settle(job, State.CANCELLED)
            if running and self._process is not None:
                await self._process.end()
        return job

    def get(self, id: str) -> Job:
        """The job. Raises NotFound."""
        if id not in self._jobs:
            raise NotFound("there is no such job")
        return self._jobs[id]

    def all(self) -> list[Job]:
        """The latest first."""
        return list(reversed(self._jobs.values()))

    def told(self, job: Job) -> dict[str, Any]:
        """A job for callers; while it runs with its progress: stage, done, total."""
        progress = read_progress(self._notes(job)) if job.state is State.RUNNING else None
        return {**job.told(), "progress": progress}

    def _notes(self, job: Job) -> Path:
        return self._studies.out / "jobs" / job.id

    async def _run(self) -> None:
        while True:
            job = await self._queue.get()
            if job.state is State.QUEUED:
                try:
                    await self._study(job)
                except (PrimumError, OSError) as error:
                    _LOG.error("job %s: %s", job.id, error)
                    self._settle(job, State.FAILED, error="its process could not be run; the server's log says why")
                finally:
                    self._process = None

    async def _study(self, job: Job) -> None:
        out = self._studies.out / job.folder
        arguments = [*self._studies.by_name[job.model_name].arguments, f"--out={out}"]
        process = StudyProcess(self._notes(job))
        job.state, job.started = State.RUNNING, now()
        self._process = process
        await process.start([*arguments, f"--level={job.optimization_level.value}"], self._studies.base)
        if job.state is not State.RUNNING:
            # It was cancelled while its process began.
            await process.end()
            return
        job.process = process.named
        self._history.write(job)
        status = await process.wait()
        if job.state is State.RUNNING:
            self._conclude(job, process, status)

    def _conclude(self, job: Job, process: StudyProcess, status: int) -> None:
        if status in (0, _NOT_ACCEPTED):
            try:
                result = self._result(process.output())
            except (OSError, ValueError, LookupError, TypeError):
                self._settle(job, State.FAILED, error="the study printed no result that can be read")
                return
            self._settle(job, State.DONE, result=result)
            return
        # What it printed may name files, and through them patients: it is for the operator alone.
        why = "it cannot use what it was given" if status == InputError.exit_code else f"it ended with status {status}"
        self._settle(job, State.FAILED, error=f"{why}; see jobs/{job.id}/log.txt in the folder of the studies")

    def _result(self, found: dict[str, Any]) -> Result:
        def below(path: str) -> str:
            return Path(path).resolve().relative_to(self._studies.out.resolve()).as_posix()

        try:
            return Result(
                accepted=found["accepted"],
                unproven=found["unproven"],
                verdict=found["verdict"],
                recipe=found["delivered"]["recipe"],
                speedup=found["speedup"],
                speedup_interval=found["speedup_interval"],
                size_ratio=found["size_ratio"],
                artifact=below(found["artifact"]),
                artifact_digest=found["digest"],
                report=below(found["report"]),
            )
        except ValidationError as error:
            raise ValueError("no result") from error

    def _settle(self, job: Job, state: State, result: Result | None = None, error: str | None = None) -> None:
        """A job's end; where it cannot be written it holds all the same."""
        job.state, job.ended, job.result, job.error, job.process = state, now(), result, error, None
        try:
            self._history.write(job)
        except StorageError as failure:
            _LOG.error("job %s ended, which could not be written: %s", job.id, failure)

    def _forget(self) -> None:
        """The oldest that ended, where there are too many."""
        ended = [id for id, job in self._jobs.items() if job.state.ended]
        for id in ended[: max(0, len(self._jobs) - MOST_KEPT)]:
            del self._jobs[id]


def _check_platforms(platforms: Sequence[str]) -> None:
    """Raises InputError where one is not known, or nothing can be made for it."""
    if not platforms:
        raise InputError("name at least one target platform")
    for one in platforms:
        if one not in _KNOWN:
            raise InputError(f"there is no platform {one[:40]!r}; there are {', '.join(_KNOWN)}")
        if one not in PLATFORMS:
            raise InputError(
                f"this version cannot target {one!r}: it makes artifacts for the CPU of a {' or '.join(PLATFORMS)}, "
                "chosen by the time of one case"
            )
