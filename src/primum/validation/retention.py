"""Performance retention, the honest reading of "98 % medical accuracy": new accuracy over the original's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.config import ClinicalPolicy
from primum.task import Task
from primum.validation.arrays import Bools, Floats
from primum.validation.cases import Cases
from primum.validation.decisions import Rule
from primum.validation.intervals import Interval
from primum.validation.means import paired_mean_interval
from primum.validation.shares import paired_ratio, share_interval
from primum.validation.spec_scores import (
    DEFINITIONS,
    ScoreStatus,
    SpecScore,
    ValidationMetric,
    absent,
    cases_for_accuracy,
)
from primum.validation.verdict import Basis, Outcome, Verdict

_NAME = ValidationMetric.MEDICAL_ACCURACY


@dataclass(frozen=True, slots=True)
class Retention:
    """The ratio of two accuracies (SEGMENTATION: of two mean Dice) on the same cases."""

    ratio: Interval
    reference: float
    candidate: float
    candidate_lower: float
    """Wilson lower bound of the candidate's own accuracy, by patient: shown, not gated. NaN for Dice."""
    what: str
    reason: str = ""


def retention(
    cases: Cases, reference: Floats, candidate: Floats, policy: ClinicalPolicy, rule: Rule | None
) -> Retention | None:
    """How much is kept; scores as the gate takes them. None for REGRESSION, which has no accuracy.

    Classifications: share of right decisions (MULTILABEL: over all known labels), by the constrained score interval
    of Nam and Blackwelder (2002) by patient. SEGMENTATION: mean Dice, linearised t interval by patient.
    """
    if rule is None:
        return _of_dice(cases, reference, candidate, policy) if cases.task is Task.SEGMENTATION else None
    known = cases.labels >= 0
    first, second = ((rule.decisions(scores) == cases.labels)[known] for scores in (candidate, reference))
    units = np.repeat(cases.units, cases.labels.shape[1])[known.ravel()] if known.ndim == 2 else cases.units[known]
    return _of_decisions(first, second, units, policy, "label decisions" if known.ndim == 2 else "decisions")


def medical_accuracy(found: Retention | None, verdict: Verdict, threshold: float) -> SpecScore:
    """The score. Its status follows the verdict's endpoints too, which retention alone can hide behind common cases."""
    if found is None:
        return absent(_NAME, threshold, "a regression has no accuracy to retain; the verdict's endpoint decides")
    status, reason = _status(found, verdict, threshold)
    inputs = {
        "retention": found.ratio.estimate,
        "lower": found.ratio.lower,
        "upper": found.ratio.upper,
        "reference": found.reference,
        "candidate": found.candidate,
        "candidate_lower": found.candidate_lower,
    }
    for part in verdict.components:
        inputs[f"{part.name}_lower"] = part.lower
    needed = max(_would_decide(verdict), default=None) if status is ScoreStatus.INSUFFICIENT else None
    return SpecScore(_NAME, found.ratio.lower, threshold, status, DEFINITIONS[_NAME], inputs, reason, needed)


def _status(found: Retention, verdict: Verdict, threshold: float) -> tuple[ScoreStatus, str]:
    shown = f"retention of {found.what} {found.ratio.estimate:.4f} ({found.ratio.lower:.4f} to {found.ratio.upper:.4f})"
    if found.what != "mean Dice":
        absolute = cases_for_accuracy(found.candidate, threshold, verdict.confidence)
        shown += f"; absolute accuracy {found.candidate:.4f} is not gated"
        shown += f" (a lower bound of {threshold:g} would take {absolute} independent cases)" if absolute else ""
    if verdict.basis is Basis.NUMERIC and verdict.outcome is Outcome.NON_INFERIOR:
        if isnan(found.ratio.lower):
            return ScoreStatus.NOT_ASSESSED, "lossless export, without a bound of its own: " + found.reason
        met = found.ratio.lower >= threshold
        return ScoreStatus.MET if met else ScoreStatus.INSUFFICIENT, "lossless export: no decision changed; " + shown
    worst = _worst(verdict)
    if found.ratio.upper < threshold or worst is Outcome.INFERIOR:
        return ScoreStatus.NOT_MET, _names(verdict, Outcome.INFERIOR) + shown
    if worst is Outcome.NOT_ASSESSED or found.reason:
        return ScoreStatus.NOT_ASSESSED, found.reason or _names(verdict, Outcome.NOT_ASSESSED) + shown
    if worst in (Outcome.INCONCLUSIVE, Outcome.INSUFFICIENT) or found.ratio.lower < threshold:
        undecided = _names(verdict, Outcome.INCONCLUSIVE) + _names(verdict, Outcome.INSUFFICIENT)
        return ScoreStatus.INSUFFICIENT, undecided + shown
    return ScoreStatus.MET, shown


def _worst(verdict: Verdict) -> Outcome:
    """The first of these that some endpoint has; a class too small to judge counts unless waived by name."""
    outcomes = {part.outcome for part in verdict.components if not part.waived}
    for outcome in (Outcome.INFERIOR, Outcome.NOT_ASSESSED, Outcome.INCONCLUSIVE, Outcome.INSUFFICIENT):
        if outcome in outcomes:
            return outcome
    return Outcome.NON_INFERIOR


def _names(verdict: Verdict, outcome: Outcome) -> str:
    names = [part.name for part in verdict.components if part.outcome is outcome and not part.waived]
    return f"{outcome.value}: {', '.join(names)}; " if names else ""


def _would_decide(verdict: Verdict) -> Sequence[int]:
    return [part.n_would_decide for part in verdict.components if part.n_would_decide is not None]


def _of_decisions(first: Bools, second: Bools, units: NDArray[Any], policy: ClinicalPolicy, what: str) -> Retention:
    before, after = float(second.mean()), float(first.mean())
    estimate = after / before if before else nan
    wide = paired_ratio(first, second, units, policy.confidence)
    ratio = Interval(estimate, min(wide.lower, estimate), max(wide.upper, estimate), policy.confidence)
    lower = share_interval(first, units, policy.confidence).lower
    return Retention(ratio, before, after, lower, what, "" if before else "the original is never right")


def _of_dice(cases: Cases, reference: Floats, candidate: Floats, policy: ClinicalPolicy) -> Retention:
    """A case that the candidate does not answer has Dice 0."""
    before = reference.mean(axis=1)
    after = np.where(np.isfinite(candidate), candidate, 0.0).mean(axis=1)
    level, now = float(before.mean()), float(after.mean())
    if level == 0:
        why = "the original's mean Dice is 0: there is nothing to retain"
        return Retention(Interval(nan, nan, nan, policy.confidence), 0.0, now, nan, "mean Dice", why)
    ratio = now / level
    mean = paired_mean_interval((after - ratio * before) / level, policy.confidence, cases.units)
    interval = Interval(ratio, ratio + mean.lower, ratio + mean.upper, policy.confidence)
    return Retention(interval, level, now, nan, "mean Dice", mean.reason)
