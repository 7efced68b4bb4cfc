"""How long each stage of a pipeline takes."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from primum.benchmark.statistics import calculate_stage_statistics
from primum.errors import InputError

STAGES = ("preprocessing", "feature_extraction", "classification", "total")


_TOLERATED = 0.2


def preemptions() -> int:
    """How often so far the operating system took a core from a thread of this process that still had work."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def contention(preempted: int, calls: int) -> str | None:
    """A sentence that says how far the machine was busy with other work during `calls`; None where it was not.

    Interleaving does not cure this: a runtime whose threads wait for each other loses a whole time slice where one
    with a single thread loses nothing.
    """
    if preempted <= _TOLERATED * calls:
        return None
    return (
        f"BUSY MACHINE: a core was taken away {preempted} times during {calls} timed calls, which inflates the times "
        "of runtimes with several threads; repeat on an idle machine, or with one thread"
    )


class StageTimer:
    """Times the stages `preprocessing`, `feature_extraction`, `classification` and `total`, or any other name.

    Safe to share between threads. A stage that raises is not recorded: a failed call is no latency.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[str, list[int]] = {}

    @contextmanager
    def time_stage(self, name: str) -> Iterator[None]:
        """Time the body of a `with` as one call of stage `name`."""
        began = time.perf_counter_ns()
        yield
        taken = time.perf_counter_ns() - began
        with self._lock:
            self._taken.setdefault(name, []).append(taken)

    def get_timings(self, stage: str) -> list[float]:
        """Every recorded time of `stage` in ms, in the order of recording; empty where there is none."""
        with self._lock:
            return [taken / 1e6 for taken in self._taken.get(stage, ())]

    def get_statistics(self, stage: str) -> dict[str, Any]:
        """Mean, median, p50, p95, p99, min, max, stddev (ms) and count of `stage`.

        What the sample cannot support is NaN and listed under `unsupported`. InputError where nothing was recorded.
        """
        taken = self.get_timings(stage)
        if not taken:
            known = ", ".join(self._recorded()) or "none"
            raise InputError(f"no timings of stage {stage!r} were recorded; there are: {known}")
        return calculate_stage_statistics(taken)

    def get_all_statistics(self) -> dict[str, dict[str, Any]]:
        """`get_statistics` of every recorded stage, the four standard ones first."""
        return {stage: self.get_statistics(stage) for stage in self._recorded()}

    def reset(self) -> None:
        """Forget every recorded time."""
        with self._lock:
            self._taken.clear()

    def _recorded(self) -> list[str]:
        with self._lock:
            return [s for s in STAGES if s in self._taken] + [s for s in self._taken if s not in STAGES]
