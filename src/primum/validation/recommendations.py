"""What to do next, each with the measured fact behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from primum.config import ClinicalPolicy, kind_of
from primum.validation.calibration import CalibrationPair
from primum.validation.conformal import patients_needed
from primum.validation.fairness import Fairness
from primum.validation.spec_scores import ScoreStatus, SpecScore, ValidationMetric
from primum.validation.sufficiency import ranking_shown
from primum.validation.verdict import Component, Outcome, SubgroupVerdict, Verdict

GUARD_EPSILON = 0.005
GUARD_DELTA = 0.05
_CHANCE = 0.05
_SHORT = (ScoreStatus.INSUFFICIENT, ScoreStatus.NOT_ASSESSED)
_SLOPE_MOVED = 0.05
"""A slope that moved by less changes no reading of a risk, however surely it moved."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One thing to do, and what was measured that says so."""

    advice: str
    fact: str

    def __str__(self) -> str:
        return f"{self.advice} ({self.fact})"


def recommend(
    verdict: Verdict,
    policy: ClinicalPolicy,
    scores: Sequence[SpecScore],
    calibration: Sequence[CalibrationPair],
    gaps: Sequence[Fairness],
) -> tuple[Recommendation, ...]:
    """The most urgent first; none where nothing calls for any."""
    found = [*_broken(verdict), *_endpoints(verdict.components, verdict.confidence)]
    for group in verdict.subgroups:
        found += _subgroup(group)
    found += [
        *(_guard(verdict) if calibration else []),
        *_scores(scores, verdict),
        *_calibration(calibration),
        *_gaps(gaps, policy),
    ]
    found += _policy(verdict)
    return tuple(dict.fromkeys(found))


def _broken(verdict: Verdict) -> list[Recommendation]:
    count = verdict.agreement.not_finite
    if not count:
        return []
    fact = f"{count} of {verdict.n} cases have a NaN or infinite output"
    return [Recommendation("Find out why the candidate gives no answer, or keep a higher precision", fact)]


def _endpoints(components: Sequence[Component], confidence: float) -> list[Recommendation]:
    shown = ranking_shown(components, confidence)

    def unshown(part: Component) -> bool:
        """A ranking that is shown of no class, which no waiver reaches."""
        return kind_of(part.name) == "auroc" and not shown

    found = []
    for part in components:
        fact = _figures(part)
        if part.outcome is Outcome.INFERIOR:
            advice = f"Do not use this candidate: try a higher precision or a lossless runtime ({part.name} is worse)"
            found.append(Recommendation(advice, fact))
        elif part.outcome is Outcome.INCONCLUSIVE and part.n_would_decide is not None:
            unit = "patients" if part.n_patients < part.n else "cases"
            advice = f"Judge about {part.n_would_decide} {unit} for {part.name} in place of {part.n_patients}"
            found.append(Recommendation(advice, fact))
        elif part.outcome is Outcome.INCONCLUSIVE:
            advice = f"Try a higher precision: no number of cases would show {part.name} to be no worse at this rate"
            found.append(Recommendation(advice, fact))
        elif part.outcome is Outcome.INSUFFICIENT and (unshown(part) or not part.waived):
            how_many = "more" if part.n_would_decide is None else str(part.n_would_decide)
            advice = f"Collect {how_many} patients for {part.name}" + ("" if unshown(part) else ", or waive it by name")
            found.append(Recommendation(advice, f"{part.n_patients} are there, margin {part.margin:g}"))
        elif part.outcome is Outcome.NOT_ASSESSED:
            found.append(Recommendation(f"Give cases on which {part.name} can be judged", part.reason))
    return found


def _subgroup(group: SubgroupVerdict) -> list[Recommendation]:
    name, found = f"{group.column}={group.value}", []
    if group.outcome is Outcome.INFERIOR:
        harmed = next(part for part in group.components if part.outcome is Outcome.INFERIOR)
        found.append(Recommendation(f"Do not use this candidate for {name}", f"{harmed.name}: {_figures(harmed)}"))
    for part in group.components:
        wanted = part.outcome in (Outcome.INSUFFICIENT, Outcome.INCONCLUSIVE) and part.n_would_decide is not None
        if wanted and not group.waived:
            advice = f"Collect {part.n_would_decide} patients of {name} for {part.name}"
            found.append(Recommendation(advice, f"{part.n_patients} are there, margin {part.margin:g}"))
    return found


def _guard(verdict: Verdict) -> list[Recommendation]:
    changed = verdict.agreement
    if not changed.harmful:
        return []
    needed = patients_needed(GUARD_EPSILON, GUARD_DELTA)
    advice = (
        f"Guard the candidate (--guard): the original answers near the threshold; {needed} guard patients hold "
        f"changed decisions below {GUARD_EPSILON:.1%} with {1 - GUARD_DELTA:.0%} confidence"
    )
    return [
        Recommendation(advice, f"{changed.flips} of {verdict.n} decisions changed, {changed.harmful} for the worse")
    ]


def _scores(scores: Sequence[SpecScore], verdict: Verdict) -> list[Recommendation]:
    found = []
    for score in scores:
        if score.name is ValidationMetric.SAFETY_SCORE and score.status in _SHORT and score.needed:
            advice = f"Judge at least {score.needed} patients of the kind that safety counts"
            found.append(Recommendation(advice, score.reason))
        elif score.name is ValidationMetric.CLINICAL_RELEVANCE and score.status is ScoreStatus.NOT_MET:
            advice = "Review the changed actions with a clinician before this candidate is used"
            found.append(Recommendation(advice, score.reason))
        elif score.name is ValidationMetric.BIAS_SCORE and not verdict.subgroups:
            found.append(
                Recommendation("Name subgroup columns (--group-columns), so that harm to a few shows", score.reason)
            )
    return found


def _calibration(pairs: Sequence[CalibrationPair]) -> list[Recommendation]:
    found = []
    for pair in pairs:
        of, gap = f" of {pair.name}" if pair.name else "", pair.slope_difference
        if abs(gap.estimate) >= _SLOPE_MOVED and (gap.lower > 0 or gap.upper < 0):
            fact = f"the slope{of} moved by {gap.estimate:+.3f} ({gap.lower:+.3f} to {gap.upper:+.3f})"
            found.append(Recommendation("Recalibrate before the candidate's scores are read as risks", fact))
        own = pair.reference
        if own.ece > own.ece_expected_upper and own.spiegelhalter.p_value < _CHANCE:
            fact = f"ECE{of} {own.ece:.3f}; calibrated scores would show up to {own.ece_expected_upper:.3f} by chance"
            found.append(
                Recommendation("The original itself is not calibrated: recalibrate both or read ranks only", fact)
            )
    return found


def _gaps(gaps: Sequence[Fairness], policy: ClinicalPolicy) -> list[Recommendation]:
    margin = policy.margins.value("sensitivity")
    return [
        Recommendation(
            f"Look at {gap.column}={gap.worst}: the candidate widens the gap between groups",
            f"equal-opportunity difference {gap.reference_gap:.3f} before, {gap.candidate_gap:.3f} after",
        )
        for gap in gaps
        if gap.change > margin
    ]


def _policy(verdict: Verdict) -> list[Recommendation]:
    found = []
    default = list(dict.fromkeys(kind_of(part.name) for part in verdict.components if not part.margin_given))
    if default:
        fact = f"default margins for {', '.join(default)}"
        found.append(Recommendation("Have a clinician state the margins", fact))
    if verdict.unit != "patient":
        found.append(Recommendation("Name the patient of each case (--patient-column)", f"the unit is {verdict.unit}"))
    return found


def _figures(part: Component) -> str:
    if not isfinite(part.lower):
        return part.reason
    return f"{part.difference:+.4f} ({part.lower:+.4f} to {part.upper:+.4f}), margin {part.margin:g}, n={part.n}"
