"""The specification's five scores, each with what it means here: a bound that these cases support, never a promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite, isnan, nan

from primum.validation.checklist import ChecklistItem, ItemStatus
from primum.validation.concordance import Concordance
from primum.validation.fairness import Fairness
from primum.validation.outcomes import smallest_passing
from primum.validation.proportions import wilson_interval
from primum.validation.verdict import Outcome, SubgroupVerdict

RELEVANCE_THRESHOLD = 0.90
BIAS_THRESHOLD = 0.85


class ValidationMetric(StrEnum):
    """The specification's names of its scores."""

    MEDICAL_ACCURACY = "medical_accuracy"
    SAFETY_SCORE = "safety_score"
    CLINICAL_RELEVANCE = "clinical_relevance"
    BIAS_SCORE = "bias_score"
    REGULATORY_COMPLIANCE = "regulatory_compliance"
    """An evidence checklist: it has no number."""


class ScoreStatus(StrEnum):
    """What the cases say of a score and its threshold."""

    MET = "met"
    NOT_MET = "not met"
    INSUFFICIENT = "INSUFFICIENT"
    """Neither shown: more cases would decide."""
    NOT_ASSESSED = "NOT_ASSESSED"


DEFINITIONS = {
    ValidationMetric.MEDICAL_ACCURACY: (
        "performance retention: lower confidence bound of the candidate's accuracy over the original's; met where it "
        "reaches the threshold and every endpoint of the verdict is non-inferior at its margin"
    ),
    ValidationMetric.SAFETY_SCORE: (
        "1 - upper confidence bound of the rate of new false negatives, by patient, among positives that the original "
        "finds; of several classes or labels the smallest"
    ),
    ValidationMetric.CLINICAL_RELEVANCE: (
        "action concordance: lower confidence bound of the share of cases whose clinical action stays the same"
    ),
    ValidationMetric.BIAS_SCORE: (
        "smallest over largest sensitivity of the subgroups large enough to judge; met where it reaches the threshold "
        "and every such subgroup is non-inferior"
    ),
    ValidationMetric.REGULATORY_COMPLIANCE: (
        "evidence checklist by framework item; it has no number, and no software can sign it"
    ),
}


@dataclass(frozen=True, slots=True)
class SpecScore:
    """One score: `value` is what is held against `threshold`; NaN where it is not assessed."""

    name: ValidationMetric
    value: float
    threshold: float
    status: ScoreStatus
    definition: str
    inputs: dict[str, float] = field(default_factory=dict)
    """The figures it is made of, by name."""
    reason: str = ""
    needed: int | None = None
    """Patients (of the kind that `reason` names) with whom the same rates would meet it; None: no number is known."""


def absent(name: ValidationMetric, threshold: float, reason: str) -> SpecScore:
    """A score that these inputs cannot give."""
    return SpecScore(name, nan, threshold, ScoreStatus.NOT_ASSESSED, DEFINITIONS[name], reason=reason)


def relevance(found: Concordance | None, threshold: float = RELEVANCE_THRESHOLD) -> SpecScore:
    """Clinical relevance, from the action concordance."""
    name = ValidationMetric.CLINICAL_RELEVANCE
    if found is None:
        return absent(name, threshold, "no action map: the policy describes no action that this task leads to")
    share = found.unchanged
    inputs = {
        "unchanged": share.estimate,
        "lower": share.lower,
        "upper": share.upper,
        "changed": float(found.changed),
        "n": float(found.n),
        "n_patients": float(found.n_patients),
        "kappa": found.kappa.estimate if found.kappa else nan,
    }
    status, needed = ScoreStatus.INSUFFICIENT, None
    if share.lower >= threshold:
        status = ScoreStatus.MET
    elif share.upper < threshold:
        status = ScoreStatus.NOT_MET
    else:
        needed = _patients_for_share(share.estimate, threshold, found.n_patients, share.confidence)
    reason = [f"{found.changed} of {found.n} cases ({found.patients_changed} patients) change action"]
    reason += [found.note] if found.note else []
    return SpecScore(name, share.lower, threshold, status, DEFINITIONS[name], inputs, "; ".join(reason), needed)


def bias(
    found: Sequence[Fairness], subgroups: Sequence[SubgroupVerdict], threshold: float = BIAS_THRESHOLD
) -> SpecScore:
    """Bias, from the sensitivities of the groups and the verdicts on them; the smallest ratio stands."""
    name = ValidationMetric.BIAS_SCORE
    if not subgroups and not found:
        return absent(name, threshold, "no grouping column was given")
    harmed = [f"{g.column}={g.value}" for g in subgroups if g.outcome is Outcome.INFERIOR]
    small = [f"{f.column}={level}{f' for {f.name}' if f.name else ''}" for f in found for level in f.insufficient]
    undecided = [f"{g.column}={g.value}" for g in subgroups if g.outcome is Outcome.INCONCLUSIVE]
    judged = [f for f in found if isfinite(f.candidate_ratio)]
    worst = min(judged, key=lambda f: f.candidate_ratio, default=None)
    value = worst.candidate_ratio if worst else nan
    inputs = {} if worst is None else {
        "candidate_ratio": worst.candidate_ratio,
        "reference_ratio": worst.reference_ratio,
        "candidate_gap": worst.candidate_gap,
        "reference_gap": worst.reference_gap,
        "change_of_gap": worst.change,
    }  # fmt: skip
    status, needed = ScoreStatus.MET, None
    if harmed or value < threshold:
        status = ScoreStatus.NOT_MET
    elif worst is None and not found:
        return absent(name, threshold, "this task has no sensitivity; its subgroups are in the verdict")
    elif worst is None or undecided:
        status = ScoreStatus.INSUFFICIENT
        needed = max((f.required for f in found), default=None) if worst is None else None
    reasons = [_say_worst(worst)] if worst else [f"no column has two levels with {needed or 0} patients with positives"]
    reasons += [f"inferior in {', '.join(harmed)}"] if harmed else []
    reasons += [f"inconclusive in {', '.join(undecided)}"] if undecided else []
    reasons += [f"INSUFFICIENT, so not part of it: {', '.join(small)}"] if small else []
    return SpecScore(name, value, threshold, status, DEFINITIONS[name], inputs, "; ".join(reasons), needed)


def regulatory(items: Sequence[ChecklistItem]) -> SpecScore:
    """The checklist's counts in place of a number."""
    counts = {status: sum(item.status is status for item in items) for status in ItemStatus}
    said = ", ".join(f"{number} {status.value}" for status, number in counts.items())
    inputs = {status.value: float(number) for status, number in counts.items()}
    name = ValidationMetric.REGULATORY_COMPLIANCE
    return SpecScore(name, nan, nan, ScoreStatus.NOT_ASSESSED, DEFINITIONS[name], inputs, f"evidence items: {said}")


def weakest(scores: Sequence[SpecScore]) -> SpecScore | None:
    """The score with the smallest value; None where none has one."""
    return min((score for score in scores if not isnan(score.value)), key=lambda score: score.value, default=None)


def cases_for_accuracy(observed: float, threshold: float, confidence: float = 0.95) -> int | None:
    """The smallest n at which an observed accuracy has a Wilson lower bound >= threshold; None where none has.

    Of the observed share itself, its count whole or not: for a threshold of 98 %, 189 at 100 % and 753 at 99 %.
    """
    if observed <= threshold:
        return None
    return smallest_passing(lambda n: wilson_interval(min(observed * n, n), n, confidence).lower >= threshold, 2)


def _patients_for_share(observed: float, threshold: float, have: int, confidence: float) -> int | None:
    found = cases_for_accuracy(observed, threshold, confidence)
    return max(found, have + 1) if found is not None else None


def _say_worst(found: Fairness) -> str:
    where = f" of {found.name}" if found.name else ""
    return (
        f"{found.column}: sensitivity{where} is lowest for {found.worst}; smallest over largest "
        f"{found.candidate_ratio:.3f} (original {found.reference_ratio:.3f}), gap {found.candidate_gap:.3f} "
        f"(original {found.reference_gap:.3f})"
    )
