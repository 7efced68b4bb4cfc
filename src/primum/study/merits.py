"""What an exploration minimises, read from a trial: latency, size and expected harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

from primum.study.select import best_lossless
from primum.study.trial import Trial
from primum.validation.verdict import Outcome

_LARGER = 1.1
"""Files larger than this, against the best lossless candidate's, are no gain whatever the speed."""
_LEAST_EXCESS = 1e-6


@dataclass(frozen=True)
class Merits:
    """What is minimised. `excess` above 0: the candidate may not be delivered, and by how much (a constraint)."""

    latency: float
    """Of one call, as a share of the original's."""
    size: float
    """Of the model files, as a share of the original's."""
    harm: float
    """1 - the chance to be confirmed, foretold from selection."""
    excess: float = 0.0

    @property
    def objectives(self) -> tuple[float, float, float]:
        """As Optuna gets them: latency and size by their logarithm, so that halving counts alike at any speed."""
        return log2(self.latency), log2(self.size), self.harm


@dataclass(frozen=True)
class Bounds:
    """How much is explored, and against what progress is measured."""

    limit: int
    """Recipes to be run."""
    seed: int
    reference: tuple[float, float, float]
    """Objectives of what is no gain any more."""


def merits_of(trial: Trial, baseline: Trial, promise: float) -> Merits:
    """Merits of a trial that ended well; `promise` is its chance to be confirmed.

    Where it was found INFERIOR or could not be assessed, `excess` is the share of decisions that it changes: of two
    candidates that may not be delivered, the one that changes fewer is nearer to those that may.
    """
    assert trial.verdict is not None
    barred = trial.outcome in (Outcome.INFERIOR, Outcome.NOT_ASSESSED)
    excess = max(trial.verdict.agreement.churn, _LEAST_EXCESS) if barred else 0.0
    return Merits(1 / trial.speed, max(trial.size_bytes, 1) / max(baseline.size_bytes, 1), 1 - promise, excess)


def reference_of(trials: Sequence[Trial]) -> tuple[float, float, float]:
    """The point that a candidate must beat in all three to add anything: the best lossless trial, files a tenth larger.

    `trials` begins with the original's.
    """
    floor = best_lossless(trials) or trials[0]
    found = merits_of(floor, trials[0], promise=0.0)
    return Merits(found.latency, _LARGER * found.size, found.harm).objectives
