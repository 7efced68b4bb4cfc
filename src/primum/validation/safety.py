"""Safety: how often, at most, the candidate misses what the original finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log, log1p, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.config import ClinicalPolicy
from primum.errors import InputError
from primum.task import Task
from primum.validation.arrays import Bools, Floats
from primum.validation.cases import Cases
from primum.validation.intervals import Interval
from primum.validation.outcomes import smallest_passing
from primum.validation.proportions import clopper_pearson_interval
from primum.validation.segmentation import DICE_LOSS
from primum.validation.spec_scores import DEFINITIONS, ScoreStatus, SpecScore, ValidationMetric, absent
from primum.validation.verdict import waiver
from primum.validation.views import View

SAFETY_THRESHOLD = 0.99
_FOUND, _MISSED = "patients with a positive that the original finds", "are missed by the candidate"
_EVERYONE = "patients"
_SOME_DICE = f"patients with more than {DICE_LOSS} Dice to lose"
_DICE_HARM = f"have a structure that loses more than {DICE_LOSS} Dice"
_ERROR_HARM = "have a value whose error grows by more than the tolerance"
_NAME = ValidationMetric.SAFETY_SCORE


@dataclass(frozen=True, slots=True)
class HarmRate:
    """Harmful flips among what the original gets right, in patients."""

    name: str
    """The view; "" for a single question."""
    among: str
    """Which patients, for example "patients with a positive that the original finds"."""
    harm: str
    """What happens to them, for example "are missed by the candidate"."""
    n_patients: int
    harmed: int
    """Patients with at least one such case that the candidate loses."""
    rate: Interval | None
    """Clopper-Pearson; None without patients."""


def harm_rates(
    cases: Cases, reference: Floats, candidate: Floats, policy: ClinicalPolicy, seen: Sequence[View]
) -> tuple[HarmRate, ...]:
    """One rate a binary question; those of waived classes ("class=value") left out.

    SEGMENTATION: patients with a structure that loses more than 0.05 Dice, among those where the original has more.
    REGRESSION: patients with a value whose error grows by more than the tolerance; none without one.
    """
    everybody: Bools = np.ones(len(cases), np.bool_)
    if cases.task is Task.SEGMENTATION:
        lost = ~(np.where(np.isfinite(candidate), candidate, 0.0) >= reference - DICE_LOSS)
        harmed = np.asarray(lost.any(axis=1))
        with_some = np.asarray((reference > DICE_LOSS).any(axis=1))
        return (_rate("", _SOME_DICE, _DICE_HARM, with_some, harmed, cases.units, policy.confidence),)
    if cases.task is Task.REGRESSION:
        tolerances = np.asarray(policy.tolerances_of(cases.classes))
        if np.isnan(tolerances).all():
            return ()
        grown = np.abs(candidate - cases.labels) - np.abs(reference - cases.labels)
        harmed = np.asarray((~(grown <= tolerances) & ~(np.isnan(tolerances) & np.isfinite(grown))).any(axis=1))
        return (_rate("", _EVERYONE, _ERROR_HARM, everybody, harmed, cases.units, policy.confidence),)
    return tuple(_of_view(view, cases.units[view.rows], policy) for view in seen if not _waived(view, policy))


def safety(
    rates: Sequence[HarmRate], not_finite: int, lossless: bool, threshold: float = SAFETY_THRESHOLD
) -> SpecScore:
    """The score of the rate with the highest upper bound; NaN and NOT_ASSESSED where no rate has a patient.

    `not_finite`: candidate outputs that were NaN or infinite.
    """
    if not rates:
        return absent(_NAME, threshold, "no rate of harm: a regression needs a tolerance; or every class is waived")
    known = [rate for rate in rates if rate.rate is not None]
    unknown = [rate for rate in rates if rate.rate is None]
    # Of nobody there is no rate: no number stands for it, and it keeps the others from being enough.
    worst = max(known or unknown, key=lambda rate: rate.rate.upper if rate.rate else nan)
    value = 1 - worst.rate.upper if worst.rate else nan
    status, needed = _status(worst, threshold)
    if unknown and status is ScoreStatus.MET:
        status, needed = ScoreStatus.INSUFFICIENT, positives_needed(threshold)
    if not_finite:
        status, needed = ScoreStatus.NOT_MET, None
    of = f"{worst.name}: " if worst.name else ""
    reasons = [f"{of}{worst.harmed} of {worst.n_patients} {worst.among} {worst.harm}"]
    reasons += [f"{rate.name}: no {rate.among}, so no rate" for rate in unknown if known]
    if needed is not None:
        at = "at this rate " if worst.rate and not unknown else ""
        reasons.append(f"{at}{needed} such patients are needed")
    if not_finite:
        reasons.append(f"{not_finite} outputs were NaN or infinite")
    if lossless:
        reasons.append("the export is lossless, which this bound, of the cases alone, cannot show")
    inputs = {"not_finite": float(not_finite)}
    for rate in rates:
        of = f"[{rate.name}]" if rate.name else ""
        inputs |= {f"harmed{of}": float(rate.harmed), f"patients{of}": float(rate.n_patients)}
        inputs[f"upper{of}"] = rate.rate.upper if rate.rate else nan
    return SpecScore(_NAME, value, threshold, status, DEFINITIONS[_NAME], inputs, "; ".join(reasons), needed)


def positives_needed(threshold: float = SAFETY_THRESHOLD, alpha: float = 0.025) -> int:
    """Positives found by the original that show the threshold with no harmful flip, `alpha` one-sided.

    (1 - upper)^n = alpha: 299 for 0.99 at 0.05, 368 at 0.025. InputError unless both lie between 0 and 1.
    """
    if not (0 < threshold < 1 and 0 < alpha < 1):
        raise InputError(f"threshold and alpha must lie between 0 and 1, got {threshold} and {alpha}")
    return ceil(log(alpha) / log(threshold) - 1e-9) if threshold > 0.5 else ceil(log(alpha) / log1p(threshold - 1))


def _status(worst: HarmRate, threshold: float) -> tuple[ScoreStatus, int | None]:
    allowed = 1 - threshold
    if worst.rate is None:
        return ScoreStatus.NOT_ASSESSED, positives_needed(threshold)
    if worst.rate.upper <= allowed:
        return ScoreStatus.MET, None
    if worst.rate.lower > allowed:
        return ScoreStatus.NOT_MET, None
    seen, confidence = worst.rate.estimate, worst.rate.confidence
    if seen >= allowed:
        return ScoreStatus.INSUFFICIENT, None

    def passes(n: int) -> bool:
        return clopper_pearson_interval(seen * n, n, confidence).upper <= allowed

    return ScoreStatus.INSUFFICIENT, smallest_passing(passes, worst.n_patients)


def _of_view(view: View, units: NDArray[Any], policy: ClinicalPolicy) -> HarmRate:
    found: Bools = (view.labels == 1) & view.reference_right
    return _rate(view.name, _FOUND, _MISSED, found, ~view.candidate_right, units, policy.confidence)


def _rate(
    name: str, among: str, harm: str, member: Bools, harmed: Bools, units: NDArray[Any], confidence: float
) -> HarmRate:
    patients, lost = np.unique(units[member]).size, np.unique(units[member & harmed]).size
    rate = clopper_pearson_interval(lost, patients, confidence) if patients else None
    return HarmRate(name, among, harm, int(patients), int(lost), rate)


def _waived(view: View, policy: ClinicalPolicy) -> bool:
    return waiver(view.name) in policy.waived_subgroups
