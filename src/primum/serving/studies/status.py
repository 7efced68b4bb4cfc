"""The state of the service as data: models, their batchers, the machine, optimizations."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from primum.batching.profiling import peak_memory
from primum.batching.stats import BatcherStats
from primum.files import finite
from primum.hardware.machine import this_machine
from primum.hardware.memory import memory_use
from primum.serving.model import ServedModel
from primum.serving.repository import Repository
from primum.serving.studies.job import now
from primum.serving.studies.jobs import PLATFORMS, Jobs
from primum.serving.worker import Worker
from primum.version import VERSION

_SHOWN = 20
"""Optimizations of the history; the jobs' own path has all."""


class Status:
    """Looks when it is asked; requests pay nothing."""

    def __init__(self, repository: Repository, jobs: Jobs | None, worker: Worker | None = None) -> None:
        """`worker`: which of several servers on one port this is: what is told is its own."""
        self._repository, self._jobs, self._worker = repository, jobs, worker
        self._machine = asdict(this_machine())
        self._started, self._began = now(), time.monotonic()

    def told(self) -> dict[str, Any]:
        """Everything, with null for what is not known yet."""
        found: dict[str, Any] = finite(
            {
                "version": VERSION,
                "ready": self._repository.ready,
                "started": self._started,
                "uptime_s": time.monotonic() - self._began,
                "worker": None if self._worker is None else {"number": self._worker.number, "of": self._worker.of},
                "machine": self._machine,
                "memory": _memory(),
                "models": [self._model(*one) for one in self._repository.index()],
                "optimization": self._optimization(),
            }
        )
        return found

    def _model(self, name: str, version: str, state: str, reason: str) -> dict[str, Any]:
        listed = {"name": name, "version": version, "state": state, "reason": reason}
        model = self._repository.get(name)
        return (
            listed
            if model is None
            else {
                **listed,
                **_described(model),
                **model.standing(),
                "batching": _batching(model.stats()),
            }
        )

    def _optimization(self) -> dict[str, Any]:
        if self._jobs is None:
            return {"enabled": False, "models": [], "platforms": [], "running": [], "history": []}
        told = [self._jobs.told(job) for job in self._jobs.all()]
        ended = [one for one in told if one["ended"] is not None]
        return {
            "enabled": True,
            "models": list(self._jobs.names),
            "platforms": list(PLATFORMS),
            "running": [one for one in told if one["ended"] is None],
            "history": ended[:_SHOWN],
        }


def _described(model: ServedModel) -> dict[str, Any]:
    rung = model.rung
    manifest = rung.manifest
    return {
        "sha256": rung.digest,
        "task": manifest.signature.task.value,
        "classes": list(manifest.signature.classes),
        "recipe": manifest.recipe,
        "verdict": manifest.verdict,
        "unproven": manifest.unproven,
        "guarded": manifest.guard is not None,
        "runtime": manifest.target["runtime"],
        "runs": asdict(rung.program.proven),
    }


def _batching(stats: BatcherStats) -> dict[str, Any]:
    """Times in milliseconds; quantiles are of the latest 1024."""

    def times(which: Any) -> dict[str, Any]:
        return {"n": which.n, **{level: getattr(which, level) * 1e3 for level in ("p50", "p95", "p99")}}

    return {
        "requests": stats.submitted,
        "outcomes": {kind.value: n for kind, n in stats.outcomes.items()},
        "reasons": {reason.value: n for reason, n in stats.reasons.items()},
        "late": stats.late,
        "latency_ms": times(stats.latency),
        "compute_ms": times(stats.service),
        "queue_ms": {level.name.lower(): times(waits) for level, waits in stats.waits.items()},
        "throughput_per_s": stats.throughput,
        "batches": sum(stats.batch_sizes.values()),
        "batch_sizes": {str(size): n for size, n in sorted(stats.batch_sizes.items())},
        "mean_batch_size": stats.mean_batch_size,
        "queued": {level.name.lower(): n for level, n in stats.queued.items()},
        "running": stats.running,
        "releases": {release.value: n for release, n in stats.releases.items()},
        "failures": {failure.value: n for failure, n in stats.failures.items()},
        "leaked_executors": stats.leaked_executors,
    }


def _memory() -> dict[str, Any]:
    """Bytes: of this process at most so far, and of what it may use with its executors, in use."""
    use = memory_use()
    return {"peak_bytes": peak_memory(), "used_bytes": use.used, "limit_bytes": use.limit, "source": use.source}
