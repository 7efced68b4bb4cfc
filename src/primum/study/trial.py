"""One trial: a recipe, what became of it, and its record on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from primum.benchmark.timing import Timings
from primum.validation.conformal import Band
from primum.validation.verdict import Basis, Outcome, Verdict


class Status(StrEnum):
    """How a trial ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    CUT_OFF = "cut off"
    """At work when the budget was spent."""


@dataclass(frozen=True)
class Parity:
    """Raw outputs against the original's on the selection cases.

    `relative` is ||candidate - original|| / ||original - mean(original)||; the trial fails above `tolerance`.
    """

    max_absolute: float
    relative: float
    tolerance: float
    passed: bool


@dataclass(frozen=True)
class Guarded:
    """A fast model, the original beside it, and the band within which the original answers."""

    of: str
    """Key of the fast model's own trial."""
    reference: str
    """Key of the lossless trial whose runtime the original runs in."""
    band: Band
    deferred: float
    """Share of selection cases deferred."""
    reference_bytes: int
    speed: float
    """Speed-up over the baseline, unhindered, with that share paying for both."""


@dataclass(frozen=True)
class Trial:
    """Recipe + artifact + verdict + timings. A failed trial is a result with its reason."""

    key: str
    recipe: str
    recipe_data: dict[str, Any]
    why: str
    """Why the planner (or the user) proposed it."""
    status: Status
    reason: str = ""
    size_bytes: int = 0
    build_s: float = 0.0
    parity: Parity | None = None
    precision_proven: str = ""
    provider: str = ""
    threads: int = 0
    timings: Timings | None = None
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()
    self_contained: bool = True
    """False: the artifact holds weights only and needs the user's factory to load."""
    fit: tuple[str, ...] = ()
    """Of the original: what is odd about how its outputs fit the labels, and no proof that they do not."""
    guard: Guarded | None = None

    @property
    def ok(self) -> bool:
        """Whether it was built, agreed, was judged and timed."""
        return self.status is Status.OK and self.verdict is not None and self.timings is not None

    @property
    def open(self) -> bool:
        """Whether it has no result yet, and is run where there is time."""
        return self.status in (Status.SKIPPED, Status.CUT_OFF)

    @property
    def lossless(self) -> bool:
        """Whether it is the original in another runtime: accepted on numeric basis."""
        return self.verdict is not None and self.verdict.basis is Basis.NUMERIC and self.guard is None

    @property
    def outcome(self) -> Outcome:
        """The verdict's outcome; NOT_ASSESSED where there is none."""
        return self.verdict.outcome if self.verdict is not None else Outcome.NOT_ASSESSED

    @property
    def runtime(self) -> str:
        """Name of the runtime that it runs in."""
        return str(self.recipe_data.get("target", {}).get("runtime", ""))

    @property
    def all_bytes(self) -> int:
        """Bytes of the model files, with those of the original that a guarded artifact carries."""
        return self.size_bytes + (self.guard.reference_bytes if self.guard is not None else 0)

    @property
    def speed(self) -> float:
        """Paired speed-up over the baseline by which candidates are ranked, 0 where it was not timed.

        Of the 10th percentiles: on a busy machine medians measure the neighbours. A guarded model's counts what its
        deferrals cost.
        """
        if self.guard is not None:
            return self.guard.speed
        return self.timings.ratio_unhindered if self.timings is not None else 0.0


_TRIAL = TypeAdapter(Trial)
_VERDICT = TypeAdapter(Verdict)


def trial_to_json(trial: Trial) -> bytes:
    """One record; NaN stays NaN."""
    return json.dumps(_TRIAL.dump_python(trial, mode="json")).encode()


def trial_from_json(data: bytes) -> Trial:
    """The record back. Raises pydantic's ValidationError where it is not one."""
    return _TRIAL.validate_python(json.loads(data))


def verdict_to_data(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain data."""
    return dict(_VERDICT.dump_python(verdict, mode="json"))
