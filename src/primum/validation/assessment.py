"""Everything beside the verdict that these cases say of a candidate, in one call: what reports and workflows show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike

from primum.config import ClinicalPolicy, ValidationConfig
from primum.task import Task
from primum.validation.arrays import Floats
from primum.validation.calibration import CalibrationPair, compare_calibration
from primum.validation.cases import Cases
from primum.validation.checklist import ChecklistItem, Record, checklist
from primum.validation.concordance import Concordance, concordance
from primum.validation.decisions import Rule, rule_for
from primum.validation.fairness import Fairness, fairness
from primum.validation.net_benefit import DecisionCurve, NetBenefit, decision_curve, net_benefits
from primum.validation.operating import FrozenThreshold, OperatingPair, compare_operating
from primum.validation.recommendations import Recommendation, recommend
from primum.validation.retention import Retention, medical_accuracy, retention
from primum.validation.safety import SAFETY_THRESHOLD, HarmRate, harm_rates, safety
from primum.validation.spec_scores import (
    BIAS_THRESHOLD,
    RELEVANCE_THRESHOLD,
    SpecScore,
    ValidationMetric,
    absent,
    bias,
    regulatory,
    relevance,
    weakest,
)
from primum.validation.verdict import Basis, Outcome, Verdict
from primum.validation.views import View, views


@dataclass(frozen=True, slots=True)
class Assessment:
    """Calibration, operating points, actions, net benefit, groups and the spec's scores. Nothing here overrules the
    verdict."""

    calibration: tuple[CalibrationPair, ...]
    """One a binary question; none for REGRESSION and SEGMENTATION (so with the next two)."""
    operating: tuple[OperatingPair, ...]
    decision_curves: tuple[DecisionCurve, ...]
    net_benefit: tuple[NetBenefit, ...]
    """At the action map's or the decision thresholds (BINARY, MULTILABEL)."""
    concordance: Concordance | None
    retention: Retention | None
    harm: tuple[HarmRate, ...]
    fairness: tuple[Fairness, ...]
    scores: tuple[SpecScore, ...]
    """The five, in the order of `ValidationMetric`."""
    overall: float
    """The smallest assessed score (the weakest link), NaN where none is: never shown without `scores`."""
    overall_of: ValidationMetric | None
    """Which score that is."""
    recommendations: tuple[Recommendation, ...]
    checklist: tuple[ChecklistItem, ...]
    frozen: FrozenThreshold | None = None
    """How the decision threshold was frozen, where the policy holds a rate."""
    notes: tuple[str, ...] = ()

    def score(self, name: ValidationMetric) -> SpecScore:
        """The score of that name."""
        return next(score for score in self.scores if score.name is name)


def assess(
    cases: Cases,
    reference: ArrayLike,
    candidate: ArrayLike,
    policy: ClinicalPolicy,
    verdict: Verdict,
    validation_config: ValidationConfig | None = None,
    records: Mapping[Record, str] | None = None,
    frozen: FrozenThreshold | None = None,
    seed: int = 0,
) -> Assessment:
    """Assess a judged candidate; cases, scores and policy are those of the verdict.

    `records`: where further records lie, for the checklist; those that the verdict itself is are added. `seed` of the
    bootstraps and simulations. Where the reference gave NaN, or there are no cases, nothing is assessed.
    InputError on scores that do not fit the task.
    """
    config = validation_config or ValidationConfig()
    ref, new = (_as_floats(scores, cases) for scores in (reference, candidate))
    broken = _why_not(cases, ref)
    if broken:
        return nothing_assessed(broken, config, records)
    rule = rule_for(cases.task, cases.classes, policy)
    seen = views(cases, ref, new, rule) if rule is not None else ()
    seen = tuple(view for view in seen if view.labels.size)
    known = {**_own_records(verdict, seen), **(records or {})}
    kept, agreed = retention(cases, ref, new, policy, rule), concordance(cases, ref, new, policy, rule)
    harm, gaps = harm_rates(cases, ref, new, policy, seen), fairness(cases, seen, policy)
    pairs = tuple(compare_calibration(view, cases.units[view.rows], policy.confidence, seed) for view in seen)
    items = checklist(known)
    lossless = verdict.basis is Basis.NUMERIC and verdict.outcome is Outcome.NON_INFERIOR
    scores = (
        medical_accuracy(kept, verdict, config.accuracy_threshold),
        safety(harm, verdict.agreement.not_finite, lossless),
        relevance(agreed),
        bias(gaps, verdict.subgroups),
        regulatory(items),
    )
    low = weakest(scores)
    return Assessment(
        calibration=pairs,
        operating=_operating(cases, seen, policy, rule),
        decision_curves=tuple(decision_curve(view) for view in seen),
        net_benefit=net_benefits(cases, seen, policy),
        concordance=agreed,
        retention=kept,
        harm=harm,
        fairness=gaps,
        scores=scores,
        overall=low.value if low else nan,
        overall_of=low.name if low else None,
        recommendations=recommend(verdict, policy, scores, pairs, gaps),
        checklist=items,
        frozen=frozen,
        notes=_notes(cases, policy, verdict),
    )


def nothing_assessed(
    reason: str, validation_config: ValidationConfig | None = None, records: Mapping[Record, str] | None = None
) -> Assessment:
    """An assessment without evidence: every score NOT_ASSESSED and NaN, for this reason."""
    config = validation_config or ValidationConfig()
    items = checklist(records or {})
    thresholds = {
        ValidationMetric.MEDICAL_ACCURACY: config.accuracy_threshold,
        ValidationMetric.SAFETY_SCORE: SAFETY_THRESHOLD,
        ValidationMetric.CLINICAL_RELEVANCE: RELEVANCE_THRESHOLD,
        ValidationMetric.BIAS_SCORE: BIAS_THRESHOLD,
    }
    scores = (*(absent(name, at, reason) for name, at in thresholds.items()), regulatory(items))
    advice = (Recommendation("Judge both models on labelled cases", reason),)
    return Assessment((), (), (), (), None, None, (), (), scores, nan, None, advice, items, notes=(reason,))


def _as_floats(scores: ArrayLike, cases: Cases) -> Floats:
    values = np.asarray(scores, dtype=np.float64)
    return values.reshape(len(cases), -1) if cases.task is Task.REGRESSION else values


def _why_not(cases: Cases, reference: Floats) -> str:
    if not len(cases):
        return "there are no cases"
    broken = int((~np.isfinite(reference)).reshape(len(cases), -1).any(axis=1).sum())
    return f"the reference gave NaN or infinity on {broken} of {len(cases)} cases" if broken else ""


def _operating(
    cases: Cases, seen: tuple[View, ...], policy: ClinicalPolicy, rule: Rule | None
) -> tuple[OperatingPair, ...]:
    if rule is None:
        return ()
    thresholds = dict.fromkeys((view.name for view in seen), nan)
    if cases.task is Task.BINARY:
        thresholds = {"": policy.threshold}
    elif cases.task is Task.MULTILABEL:
        thresholds = dict(zip(cases.classes, rule.thresholds))
    point = policy.operating_point if cases.task in (Task.BINARY, Task.MULTILABEL) else None
    return tuple(
        compare_operating(view, cases.units[view.rows], thresholds[view.name], point, policy.confidence)
        for view in seen
    )


def _own_records(verdict: Verdict, seen: tuple[View, ...]) -> dict[Record, str]:
    found = [Record.VERDICT, Record.FLIPS]
    found += [Record.CALIBRATION] if seen else []
    found += [Record.SUBGROUPS] if verdict.subgroups else []
    return dict.fromkeys(found, "this report")


def _notes(cases: Cases, policy: ClinicalPolicy, verdict: Verdict) -> tuple[str, ...]:
    notes = []
    if verdict.clustered:
        notes.append("ECE, its expectation and Spiegelhalter's z take the cases of one patient as independent")
    if cases.task in (Task.BINARY, Task.MULTILABEL):
        notes.append("net benefit reads a threshold as the odds at which a false alarm is worth a missed positive")
    if policy.operating_point is not None:
        notes.append("the decision threshold holds a rate, so net benefit at it states no such odds")
    return tuple(notes)
