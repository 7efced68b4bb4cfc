"""One optimization that a caller asked for, and the history of them on disk."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from primum.errors import InputError
from primum.files import storage
from primum.level import OptimizationLevel
from primum.locking import Lock

MOST_KEPT = 1000
"""Jobs of the history."""


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """The server ended before it did; asked for again, its study goes on."""

    @property
    def ended(self) -> bool:
        """It will not change."""
        return self not in (State.QUEUED, State.RUNNING)


class Result(BaseModel):
    """What a study came to; paths are below the folder of the studies."""

    model_config = ConfigDict(frozen=True)
    accepted: bool
    unproven: bool
    verdict: str
    recipe: str
    speedup: float | None
    speedup_interval: tuple[float | None, float | None]
    size_ratio: float | None
    artifact: str
    artifact_digest: str
    report: str


class Job(BaseModel):
    """One job."""

    model_config = ConfigDict(validate_assignment=True)
    id: str = ""
    model_name: str
    optimization_level: OptimizationLevel
    target_platforms: tuple[str, ...]
    state: State = State.QUEUED
    created: str = ""
    started: str | None = None
    ended: str | None = None
    result: Result | None = None
    error: str | None = None
    process: tuple[int, int] | None = None
    """Number of its process, and when that began (clock ticks since the machine did): together they name one."""

    @property
    def folder(self) -> Path:
        """Of its study, below the folder of the studies: one for each name and level, so that it can go on."""
        return Path(self.model_name) / self.optimization_level.value

    def told(self) -> dict[str, Any]:
        """Plain data for callers."""
        return self.model_dump(mode="json", exclude={"process"})


def new_id() -> str:
    """Of a job; cannot be guessed."""
    return secrets.token_hex(8)


def now() -> str:
    """The time, as jobs have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class History:
    """Jobs in a file of JSON lines, of which a job's last counts; one process at a time."""

    path: Path
    _lock: Lock = field(init=False)

    def __post_init__(self) -> None:
        """The lock lies beside the file."""
        self._lock = Lock(self.path.with_suffix(".lock"))

    def open(self) -> list[Job]:
        """Hold the file, and read it: the latest jobs, oldest first. Raises InputError where another process holds it,
        or a line of it is none.
        """
        if not self._lock.take(wait=False):
            raise InputError(f"{self.path.parent}: another server runs studies there; give each a folder of its own")
        if not self.path.exists():
            return []
        jobs: dict[str, Job] = {}
        lines = self.path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            try:
                job = Job.model_validate_json(line)
            except ValidationError as error:
                if number == len(lines):
                    # A crash cut it short; what it said is said again when the job is found without an end.
                    self._cut(line)
                    break
                raise InputError(f"{self.path}: line {number} is no job; move the file away to begin anew") from error
            jobs[job.id] = job
        return list(jobs.values())[-MOST_KEPT:]

    def write(self, job: Job) -> None:
        """Append a job as it is now. Raises StorageError."""
        with storage(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                os.write(file, job.model_dump_json().encode() + b"\n")
            finally:
                os.close(file)

    def close(self) -> None:
        """Let another process have it."""
        self._lock.release()

    def _cut(self, line: str) -> None:
        with storage(self.path):
            os.truncate(self.path, self.path.stat().st_size - len(line.encode()))
