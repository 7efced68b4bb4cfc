"""The gate: is the candidate non-inferior to the reference, on these cases, under this policy?"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike

from primum.config import ClinicalPolicy
from primum.errors import InputError
from primum.validation.arrays import Floats, as_scores
from primum.validation.cases import Cases
from primum.validation.flips import agreement, decide, list_flips
from primum.validation.outcomes import ENDPOINTS, not_assessed
from primum.validation.rates import RATES, judge_rate
from primum.validation.scores import judge_auroc, judge_brier
from primum.validation.subgroups import judge_subgroups
from primum.validation.verdict import Agreement, Basis, Component, Flip, Outcome, SubgroupVerdict, Verdict

__all__ = ["LOSSLESS", "Cases", "judge"]

LOSSLESS = 1e-5
"""Largest |Δp| of an export that counts as lossless."""
_OVERSHOOT = 1e-6
"""How far rounding may carry a probability past 0 or 1."""
_PRECEDENCE = (Outcome.INFERIOR, Outcome.NOT_ASSESSED, Outcome.INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class _Judged:
    components: tuple[Component, ...]
    subgroups: tuple[SubgroupVerdict, ...]
    agreement: Agreement
    flips: tuple[Flip, ...]


def judge(cases: Cases, reference: ArrayLike, candidate: ArrayLike, policy: ClinicalPolicy) -> Verdict:
    """Judge `candidate` against `reference`, both P(positive) (N,), on the same cases.

    The decision is score >= threshold. A candidate score that is NaN or infinite is wrong for its case, ranks
    worst and has squared error 1; one in the reference leaves everything NOT_ASSESSED. A lossless candidate
    (all finite, max |Δp| <= 1e-5, no flip) is NON_INFERIOR with basis numeric whatever the number of cases,
    unless an endpoint's point estimate lies beyond its margin; endpoints and subgroups keep the outcomes of
    their own figures.
    InputError on lengths that differ, or on finite scores outside [0, 1].
    """
    n = len(cases)
    ref, new = _probabilities(reference, n, "reference"), _probabilities(candidate, n, "candidate")
    broken = int((~np.isfinite(ref)).sum())
    if n == 0:
        return _unjudged(cases, ref, new, policy, "there are no cases")
    if broken:
        reason = f"the reference gave NaN or infinity on {broken} of {n} cases"
        return _unjudged(cases, ref, new, policy, reason)
    judged = _judge_parts(cases, ref, new, policy)
    outcome = _overall(judged, policy)
    basis = Basis.STATISTICAL
    if _is_lossless(judged):
        outcome, basis = Outcome.NON_INFERIOR, Basis.NUMERIC
    return _verdict(cases, policy, outcome, basis, judged, _reasons(judged, basis, policy, n))


def _judge_parts(cases: Cases, ref: Floats, new: Floats, policy: ClinicalPolicy) -> _Judged:
    labels, units = cases.labels, cases.units
    ref_right, new_right = (decide(s, policy.threshold, labels) == labels for s in (ref, new))
    components = []
    for name, label, _ in RATES:
        member = labels == label
        components.append(judge_rate(name, ref_right[member], new_right[member], units[member], policy))
    components.append(judge_auroc(labels, ref, new, units, policy))
    components.append(judge_brier(labels, ref, new, units, policy))
    subgroups = judge_subgroups(cases, ref_right, new_right, policy)
    return _Judged(tuple(components), subgroups, *_accounts(cases, ref, new, policy))


def _accounts(cases: Cases, ref: Floats, new: Floats, policy: ClinicalPolicy) -> tuple[Agreement, tuple[Flip, ...]]:
    flips = list_flips(cases.labels, ref, new, policy.threshold, cases.case_ids, cases.groups)
    return agreement(cases.labels, ref, new, policy.threshold), flips


def _overall(judged: _Judged, policy: ClinicalPolicy) -> Outcome:
    """The first of INFERIOR, NOT_ASSESSED, INCONCLUSIVE that some part has.

    An insufficient level blocks only where the policy says so; its sufficient class counts all the same.
    """
    outcomes = {part.outcome for part in judged.components}
    for level in judged.subgroups:
        outcomes |= {part.outcome for part in level.components}
        if _blocks(level, policy):
            outcomes.add(Outcome.INCONCLUSIVE)
    return next((outcome for outcome in _PRECEDENCE if outcome in outcomes), Outcome.NON_INFERIOR)


def _blocks(level: SubgroupVerdict, policy: ClinicalPolicy) -> bool:
    return level.outcome is Outcome.INSUFFICIENT and policy.block_on_insufficient and not level.waived


def _is_lossless(judged: _Judged) -> bool:
    found = judged.agreement
    if found.not_finite or found.flips or not found.max_abs_difference <= LOSSLESS:
        return False
    # Scores that all lie within the tolerance can be scrambled by it: the ranking must hold too.
    return not any(part.difference <= -part.margin for part in judged.components)


def _reasons(judged: _Judged, basis: Basis, policy: ClinicalPolicy, n: int) -> tuple[str, ...]:
    """Plain sentences, what decides first."""
    ranked = [
        (_PRECEDENCE.index(part.outcome), f"{part.name}: {part.reason}")
        for part in judged.components
        if part.outcome is not Outcome.NON_INFERIOR
    ]
    ranked += [
        _rank_level(level, _blocks(level, policy) and basis is not Basis.NUMERIC)
        for level in judged.subgroups
        if level.outcome is not Outcome.NON_INFERIOR
    ]
    sentences = [text for _, text in sorted(ranked, key=lambda item: item[0])]
    if basis is Basis.NUMERIC:
        sentences.insert(0, _say_lossless(judged.agreement))
    if judged.agreement.not_finite:
        broken = judged.agreement.not_finite
        sentences.append(f"{broken} of {n} candidate outputs were NaN or infinite: each counts as wrong")
    default = [name for name in ENDPOINTS if not policy.margins.given(name)]
    if default:
        sentences.append(f"default margins, not confirmed by a clinician: {', '.join(default)}")
    return tuple(sentences)


def _rank_level(level: SubgroupVerdict, blocks: bool) -> tuple[int, str]:
    text = f"subgroup {level.column}={level.value}: {level.outcome}: {level.reason}"
    if level.outcome is not Outcome.INSUFFICIENT:
        return _PRECEDENCE.index(level.outcome), text
    if blocks:
        return _PRECEDENCE.index(Outcome.INCONCLUSIVE), text + " (blocks: it is not waived)"
    return len(_PRECEDENCE), text + (" (waived by name)" if level.waived else "")


def _say_lossless(found: Agreement) -> str:
    return (
        f"lossless: no decision changed and no score moved by more than {found.max_abs_difference:.1e}, "
        "which passes whatever the number of cases; the endpoints say what these cases alone would show"
    )


def _unjudged(cases: Cases, ref: Floats, new: Floats, policy: ClinicalPolicy, reason: str) -> Verdict:
    components = tuple(not_assessed(name, policy, reason, n=len(cases)) for name in ENDPOINTS)
    if len(cases):
        found, flips = _accounts(cases, ref, new, policy)
    else:
        found, flips = Agreement(nan, nan, 0, 0, 0, nan, nan, 0), ()
    judged = _Judged(components, (), found, flips)
    return _verdict(cases, policy, Outcome.NOT_ASSESSED, Basis.STATISTICAL, judged, (reason,))


def _verdict(
    cases: Cases,
    policy: ClinicalPolicy,
    outcome: Outcome,
    basis: Basis,
    judged: _Judged,
    reasons: tuple[str, ...],
) -> Verdict:
    n, patients, positives = len(cases), int(np.unique(cases.units).size), int(cases.labels.sum())
    return Verdict(
        outcome=outcome,
        basis=basis,
        components=judged.components,
        subgroups=judged.subgroups,
        agreement=judged.agreement,
        flips=judged.flips,
        threshold=policy.threshold,
        confidence=policy.confidence,
        n=n,
        n_patients=patients,
        n_positive=positives,
        n_negative=n - positives,
        clustered=patients < n,
        unit="case (declared independent)" if cases.independent else "patient",
        reasons=reasons,
    )


def _probabilities(scores: ArrayLike, n: int, name: str) -> Floats:
    array = as_scores(scores, n, f"{name} scores", finite=False)
    known = array[np.isfinite(array)]
    outside = (known < -_OVERSHOOT) | (known > 1 + _OVERSHOOT)
    if outside.any():
        raise InputError(f"{name} scores must be probabilities in [0, 1]; {int(outside.sum())} are not")
    return array
