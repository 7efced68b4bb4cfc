"""What a guard band does on fresh cases: the share deferred and the flips left, for one band and along epsilon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from primum.config import GuardPolicy
from primum.errors import InputError
from primum.validation.arrays import Bools, Ints, as_codes
from primum.validation.conformal import OVERALL, class_band, defers, flip_margins, largest, members, stratify
from primum.validation.decisions import Rule
from primum.validation.proportions import clopper_pearson_interval


@dataclass(frozen=True, slots=True)
class Leak:
    """Patients with a flip that the guard did not catch, among all or those of one class."""

    name: str
    n_patients: int
    patients_left: int
    lower: float
    """Clopper-Pearson, two-sided at `GuardOutcome.confidence`: each end alone holds at (1 + confidence) / 2."""
    upper: float
    """NaN, as `lower`, where the class has no patient."""


@dataclass(frozen=True, slots=True)
class GuardOutcome:
    """A band applied to cases that did not set it."""

    n: int
    n_patients: int
    deferred: float
    """Share of cases that go to the original."""
    deferred_patients: float
    """Share of patients with at least one such case."""
    flips_unguarded: int
    """Cases decided otherwise than by the original; a fast score that is not finite counts."""
    flips_left: int
    """Those that are not deferred."""
    patients_left: int
    """Patients with at least one of these: what epsilon bounds."""
    lower: float
    """Of the share of patients left; bounds as in `Leak`."""
    upper: float
    confidence: float
    by_class: tuple[Leak, ...]
    """For each class of the original's decision, the patients with a case there and a flip left among those cases."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One epsilon: the band that the guard part sets, and what it does on fresh cases."""

    epsilon: float
    delta: float | None
    """None: the bound holds on average over draws of the guard part."""
    band: float | None
    """None: too few guard patients, and no outcome."""
    outcome: GuardOutcome | None

    @property
    def deferred(self) -> float:
        """Share of fresh cases deferred; NaN without a band."""
        return float("nan") if self.outcome is None else self.outcome.deferred


def assess_guard(
    rule: Rule,
    classes: tuple[str, ...],
    fast: ArrayLike,
    reference: ArrayLike,
    units: ArrayLike,
    band_value: float,
    confidence: float = 0.95,
) -> GuardOutcome:
    """Count what a guard of `band_value` defers and lets through; scores as `Rule` takes them, `units` (N,) patients.

    InputError on shapes that do not fit, no cases, or a reference score that is not finite.
    """
    # Refuses what does not fit, before anything is counted.
    flip_margins(rule, fast, reference)
    ref = np.asarray(reference, dtype=np.float64)
    n = len(ref)
    if not n:
        raise InputError("there are no cases to assess a guard on")
    codes, n_patients = as_codes(units, n)
    differ = (rule.decisions(fast) != rule.decisions(ref)).reshape(n, -1)
    deferred = defers(rule, fast, band_value)
    left = differ & ~deferred[:, None]
    everyone = _leak(OVERALL, codes, left.any(axis=1), confidence)
    return GuardOutcome(
        n=n,
        n_patients=n_patients,
        deferred=float(deferred.mean()),
        deferred_patients=np.unique(codes[deferred]).size / n_patients,
        flips_unguarded=int(differ.any(axis=1).sum()),
        flips_left=int(left.any(axis=1).sum()),
        patients_left=everyone.patients_left,
        lower=everyone.lower,
        upper=everyone.upper,
        confidence=confidence,
        by_class=tuple(
            _leak(name, codes[rows], left[rows, column], confidence)
            for name, column, rows in members(rule, classes, ref)
        ),
    )


def guard_curve(
    rule: Rule,
    classes: tuple[str, ...],
    fast_cal: ArrayLike,
    ref_cal: ArrayLike,
    units_cal: ArrayLike,
    fast_fresh: ArrayLike,
    ref_fresh: ArrayLike,
    units_fresh: ArrayLike,
    epsilons: Sequence[float],
    policy: GuardPolicy,
) -> tuple[CurvePoint, ...]:
    """Two points an epsilon, on average and with confidence: for choosing epsilon before the band is set.

    The confidence is the policy's; where it has none, the default policy's. `policy.epsilon` is not used. The bounds of
    an outcome hold for each point alone: an epsilon chosen by this curve needs new patients for its band.
    InputError as `fit_band` and `assess_guard`.
    """
    strata = stratify(rule, classes, fast_cal, ref_cal, units_cal, policy)
    sure = policy.delta if policy.delta is not None else GuardPolicy().delta
    points = []
    for epsilon in epsilons:
        for delta in (None, sure):
            band = largest(tuple(class_band(stratum, epsilon, delta) for stratum in strata))
            outcome = None
            if band is not None:
                outcome = assess_guard(rule, classes, fast_fresh, ref_fresh, units_fresh, band)
            points.append(CurvePoint(epsilon, delta, band, outcome))
    return tuple(points)


def _leak(name: str, codes: Ints, left: Bools, confidence: float) -> Leak:
    patients, missed = int(np.unique(codes).size), int(np.unique(codes[left]).size)
    if not patients:
        return Leak(name, 0, 0, float("nan"), float("nan"))
    bounds = clopper_pearson_interval(missed, patients, confidence)
    return Leak(name, patients, missed, bounds.lower, bounds.upper)
