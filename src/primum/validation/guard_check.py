"""What a guard promised, held against patients that it has never seen: is it broken there?"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from primum.validation.conformal import OVERALL
from primum.validation.decisions import Rule
from primum.validation.guard_curve import GuardOutcome, Leak, assess_guard


class Standing(StrEnum):
    """What an interval says of a bound."""

    HELD = "held"
    """It lies below epsilon as a whole."""
    OPEN = "open"
    """Epsilon lies in it: so few patients cannot tell."""
    EXCEEDED = "EXCEEDED"
    """It lies above epsilon as a whole."""


@dataclass(frozen=True, slots=True)
class GuardPromise:
    """At most a share epsilon of patients has a decision that changed without being deferred."""

    epsilon: float
    delta: float | None
    by_class: bool
    strict: bool
    band: float
    mode: str = field(init=False)
    """ "confidence": the bound holds with confidence 1 - delta; "average": on average over draws of guard patients."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "mode", "average" if self.delta is None else "confidence")

    def __str__(self) -> str:
        how = "on average over draws of guard patients" if self.delta is None else f"with confidence {1 - self.delta:g}"
        return how + (", within each class that the original calls" if self.by_class else "")


@dataclass(frozen=True, slots=True)
class Bound:
    """The patients of one class that the original calls, or all, against epsilon."""

    leak: Leak
    promised: bool
    """False: a class of a guard whose bound is of all patients alone."""
    standing: Standing


@dataclass(frozen=True, slots=True)
class GuardCheck:
    """A guarded artifact on cases that neither set its band nor judged it before.

    A bound is exceeded where the lower end of its Clopper-Pearson interval, which alone holds at (1 + confidence) / 2,
    lies above epsilon. Each is looked at by itself: of many classes some may be found so by chance, which is the safer
    error here. The score's change that a strict guard bounds is never less than the decision's, which is counted.
    """

    promise: GuardPromise
    outcome: GuardOutcome | None
    """None where it cannot be known, see `reason`."""
    bounds: tuple[Bound, ...] = ()
    """All patients first, then those of each class that the original calls."""
    findings: tuple[str, ...] = ()
    """Of each promised bound that is exceeded, one sentence."""
    reason: str = ""

    @property
    def exceeded(self) -> bool:
        """Whether a bound that was promised is shown not to hold on these patients."""
        return any(bound.promised and bound.standing is Standing.EXCEEDED for bound in self.bounds)


def check_guard(
    promise: GuardPromise,
    rule: Rule,
    classes: tuple[str, ...],
    fast: ArrayLike,
    reference: ArrayLike,
    units: ArrayLike,
    confidence: float,
) -> GuardCheck:
    """Count what the guard defers and lets through; arguments as `assess_guard`, `fast` of the fast model alone.

    Without a finite answer of the original to every case it is not known which decisions changed: no outcome then.
    """
    old = np.asarray(reference, dtype=np.float64)
    broken = int((~np.isfinite(old.reshape(len(old), -1))).any(axis=1).sum())
    if broken or not len(old):
        why = f"the original gave NaN or infinity on {broken} of {len(old)} cases" if broken else "there are no cases"
        return GuardCheck(promise, None, reason=f"{why}: which decisions changed undetected cannot be known")
    found = assess_guard(rule, classes, fast, old, units, promise.band, confidence)
    everyone = Leak(OVERALL, found.n_patients, found.patients_left, found.lower, found.upper)
    bounds = tuple(
        Bound(leak, promise.by_class or leak is everyone, _standing(leak, promise.epsilon))
        for leak in (everyone, *found.by_class)
    )
    broke = (bound.leak for bound in bounds if bound.promised and bound.standing is Standing.EXCEEDED)
    return GuardCheck(promise, found, bounds, tuple(_say(leak, promise, confidence) for leak in broke))


def _standing(leak: Leak, epsilon: float) -> Standing:
    # NaN, of a class without a patient, is neither above nor below.
    if leak.lower > epsilon:
        return Standing.EXCEEDED
    return Standing.HELD if leak.upper <= epsilon else Standing.OPEN


def _say(leak: Leak, promise: GuardPromise, confidence: float) -> str:
    whom = "of all patients" if leak.name == OVERALL else f"of the patients whom the original calls {leak.name}"
    return (
        f"{whom} {leak.patients_left} of {leak.n_patients} have a changed decision that was not deferred: at least "
        f"{leak.lower:.2%}, at a confidence of {(1 + confidence) / 2:.4g}, where at most {100 * promise.epsilon:.4g}% "
        f"was promised, {promise}"
    )
