"""The gate: is the candidate non-inferior to the reference, on these cases, under this policy?"""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan

import numpy as np
from numpy.typing import ArrayLike

from primum.config import MARGINS_OF, ClinicalPolicy, kind_of
from primum.task import Task
from primum.validation.cases import NO_PATIENTS, Cases, say_copies
from primum.validation.decisions import rule_for
from primum.validation.judged import Judged, checked_scores, judge_task, unjudged
from primum.validation.sufficiency import NO_RANKING, ranking_shown
from primum.validation.verdict import Agreement, Basis, Component, Outcome, SubgroupVerdict, Verdict, waiver

__all__ = ["LOSSLESS", "Cases", "judge", "why_blocks"]

LOSSLESS = 1e-5
"""Largest difference of an export that counts as lossless: |Δp| of probabilities; of values and Dice, |Δ| in standard
deviations of the reference's."""
_PRECEDENCE = (Outcome.INFERIOR, Outcome.NOT_ASSESSED, Outcome.INCONCLUSIVE)
_SEVERAL = (Task.MULTICLASS, Task.ORDINAL, Task.MULTILABEL)


def judge(
    cases: Cases, reference: ArrayLike, candidate: ArrayLike, policy: ClinicalPolicy, *, exported: bool = False
) -> Verdict:
    """Judge `candidate` against `reference` on the same cases, whatever their task.

    Scores: BINARY (N,) P(positive); MULTICLASS and ORDINAL (N, K), MULTILABEL (N, L) probabilities; REGRESSION (N, D)
    values (or (N,) where D is 1); SEGMENTATION (N, C) Dice by structure. Decisions are those of `rule_for`.

    A candidate output that is not finite counts as the worst there is: a wrong decision, ranked worst, with loss 1; for
    REGRESSION beyond every error seen; Dice 0. One in the reference leaves everything NOT_ASSESSED. A class too rare to
    decide is INSUFFICIENT, as a subgroup is. `exported`: the candidate is known to be the reference's own weights at
    full precision in another runtime. Only then is agreement (all finite, within `LOSSLESS`, no flip) NON_INFERIOR with
    basis numeric whatever the number of cases, unless an endpoint's point estimate lies beyond its margin; endpoints
    and subgroups keep the outcomes of their own figures. Of any other candidate, agreement on these cases is a sample.
    InputError on another shape, on finite probabilities outside [0, 1], or on thresholds of labels that there are not.
    """
    n = len(cases)
    rule = rule_for(cases.task, cases.classes, policy)
    ref, new = (checked_scores(cases, s, name) for s, name in ((reference, "reference"), (candidate, "candidate")))
    broken = int((~np.isfinite(ref.reshape(n, -1))).any(axis=1).sum()) if n else 0
    if n == 0 or broken:
        reason = f"the reference gave NaN or infinity on {broken} of {n} cases" if n else "there are no cases"
        judged = unjudged(cases, ref, new, policy, reason)
        return _verdict(cases, policy, Outcome.NOT_ASSESSED, Basis.STATISTICAL, judged, (reason,))
    judged = judge_task(cases, ref, new, policy, rule)
    outcome = _overall(judged, policy)
    basis = Basis.STATISTICAL
    if exported and _is_lossless(judged):
        outcome, basis = Outcome.NON_INFERIOR, Basis.NUMERIC
    return _verdict(cases, policy, outcome, basis, judged, _reasons(cases, judged, basis, policy))


def _overall(judged: Judged, policy: ClinicalPolicy) -> Outcome:
    """The first of INFERIOR, NOT_ASSESSED, INCONCLUSIVE that some part has.

    What is insufficient blocks where the policy says so, in a class whose observed loss is beyond the margin, and where
    of no class at all a ranking is shown; the sufficient parts of a level count all the same.
    """
    outcomes = {part.outcome for part in judged.components}
    blocked = any(why_blocks(part, judged.components, policy) for part in judged.components)
    for level in judged.subgroups:
        outcomes |= {part.outcome for part in level.components}
        blocked |= _blocks(level, policy)
    if blocked:
        outcomes.add(Outcome.INCONCLUSIVE)
    return next((outcome for outcome in _PRECEDENCE if outcome in outcomes), Outcome.NON_INFERIOR)


def why_blocks(part: Component, components: Sequence[Component], policy: ClinicalPolicy) -> str:
    """Why one of the `components`, too small to be judged, blocks all the same; empty where it does not."""
    if part.outcome is not Outcome.INSUFFICIENT:
        return ""
    # No waiver reaches this: it names classes that are too rare, not that nothing is to be shown of any ranking.
    if kind_of(part.name) == "auroc" and not ranking_shown(components, policy.confidence):
        return NO_RANKING
    if part.waived:
        return ""
    if part.difference < -part.margin:
        return "more was lost than its margin: no proof of harm, and none of none"
    return "it is not waived" if policy.block_on_insufficient else ""


def _blocks_part(part: Component, policy: ClinicalPolicy) -> bool:
    return part.outcome is Outcome.INSUFFICIENT and policy.block_on_insufficient and not part.waived


def _blocks(level: SubgroupVerdict, policy: ClinicalPolicy) -> bool:
    small = level.outcome is Outcome.INSUFFICIENT and policy.block_on_insufficient and not level.waived
    return small and (not level.components or any(_blocks_part(part, policy) for part in level.components))


def _is_lossless(judged: Judged) -> bool:
    found = judged.agreement
    if found.not_finite or found.flips or not judged.distance <= LOSSLESS:
        return False
    # Scores that all lie within the tolerance can be scrambled by it: the ranking must hold too.
    return not any(part.difference <= -part.margin for part in judged.components)


def _reasons(cases: Cases, judged: Judged, basis: Basis, policy: ClinicalPolicy) -> tuple[str, ...]:
    """Plain sentences, what decides first."""
    lossless = basis is Basis.NUMERIC
    ranked = [
        _rank_part(part, "" if lossless else why_blocks(part, judged.components, policy))
        for part in judged.components
        if part.outcome is not Outcome.NON_INFERIOR
    ]
    ranked += [
        _rank_level(level, "it is not waived" if _blocks(level, policy) and not lossless else "")
        for level in judged.subgroups
        if level.outcome is not Outcome.NON_INFERIOR
    ]
    sentences = [text for _, text in sorted(ranked, key=lambda item: item[0])]
    if lossless:
        sentences.insert(0, _say_lossless(cases.task, judged))
    return (*sentences, *_notes(cases, judged, policy))


def _notes(cases: Cases, judged: Judged, policy: ClinicalPolicy) -> list[str]:
    """What a reader must know besides outcomes."""
    notes = []
    views = [part.outcome for part in judged.components if part.view]
    if cases.task in _SEVERAL and views and all(outcome is Outcome.INSUFFICIENT for outcome in views):
        notes.append("only the endpoints of all cases together could be assessed: each class by itself is too rare")
    if judged.agreement.not_finite:
        notes.append(_say_broken(cases, judged.agreement))
    if not cases.named and not cases.independent:
        notes.append(NO_PATIENTS)
    if cases.copies:
        notes.append(say_copies(cases.copies, len(cases)))
    if cases.task is Task.REGRESSION and (shared := _one_for_several(cases.classes, policy)):
        notes.append(shared)
    unknown = int(judged.beside.get("unknown_labels", 0))
    if unknown:
        notes.append(f"{unknown} of {cases.labels.size} labels are not known: each is left out")
    margins = policy.margins
    default = [k for k in MARGINS_OF[cases.task] if not margins.given(k) and not isnan(margins.value(k))]
    if default:
        notes.append(f"default margins, not confirmed by a clinician: {', '.join(default)}")
    return notes


def _one_for_several(outputs: Sequence[str], policy: ClinicalPolicy) -> str:
    """That one margin or tolerance is held against several outputs, which have one unit or should have their own."""
    own = {"margin for the error": policy.error_margins, "tolerance": policy.tolerances}
    given = {"margin for the error": policy.margins.error, "tolerance": policy.tolerance}
    told = [
        f"one {what} ({given[what]:g}) for {', '.join(rest)}"
        for what, named in own.items()
        if given[what] is not None and len(rest := [name for name in outputs if name not in named]) > 1
    ]
    return f"{' and '.join(told)}: right only where these have one unit" if told else ""


def _say_broken(cases: Cases, found: Agreement) -> str:
    if cases.task in (Task.REGRESSION, Task.SEGMENTATION):
        return f"{found.not_finite} candidate outputs were NaN or infinite: each counts as the worst there is"
    total = int((cases.labels >= 0).sum())
    return f"{found.not_finite} of {total} candidate outputs were NaN or infinite: each counts as wrong"


def _rank_part(part: Component, blocks: str) -> tuple[int, str]:
    if part.outcome is not Outcome.INSUFFICIENT:
        return _PRECEDENCE.index(part.outcome), f"{part.name}: {part.reason}"
    return _rank_small(f"{part.name}: {part.outcome}: {part.reason}", blocks, waiver(part.view) if part.waived else "")


def _rank_level(level: SubgroupVerdict, blocks: str) -> tuple[int, str]:
    text = f"subgroup {level.column}={level.value}: {level.outcome}: {level.reason}"
    if level.outcome is not Outcome.INSUFFICIENT:
        return _PRECEDENCE.index(level.outcome), text
    return _rank_small(text, blocks, "name" if level.waived else "")


def _rank_small(text: str, blocks: str, waived_by: str) -> tuple[int, str]:
    """What is insufficient comes last, unless it blocks."""
    if blocks:
        return _PRECEDENCE.index(Outcome.INCONCLUSIVE), f"{text} (blocks: {blocks})"
    return len(_PRECEDENCE), text + (f" (waived by {waived_by})" if waived_by else "")


def _say_lossless(task: Task, judged: Judged) -> str:
    values = task in (Task.REGRESSION, Task.SEGMENTATION)
    moved = (
        f"no output moved by more than {judged.distance:.1e} standard deviations of the original's"
        if values
        else f"no decision changed and no score moved by more than {judged.distance:.1e}"
    )
    return (
        f"lossless: {moved}, "
        "which passes whatever the number of cases; the endpoints say what these cases alone would show"
    )


def _verdict(
    cases: Cases,
    policy: ClinicalPolicy,
    outcome: Outcome,
    basis: Basis,
    judged: Judged,
    reasons: tuple[str, ...],
) -> Verdict:
    n, patients = len(cases), int(np.unique(cases.units).size)
    binary = cases.task is Task.BINARY
    positives = int(cases.labels.sum()) if binary else None
    return Verdict(
        outcome=outcome,
        basis=basis,
        components=judged.components,
        subgroups=judged.subgroups,
        agreement=judged.agreement,
        flips=judged.flips,
        threshold=policy.threshold if binary or cases.task is Task.MULTILABEL else nan,
        confidence=policy.confidence,
        n=n,
        n_patients=patients,
        n_positive=positives,
        n_negative=None if positives is None else n - positives,
        clustered=patients < n,
        unit=cases.unit,
        copies=cases.copies,
        reasons=reasons,
        task=cases.task,
        classes=cases.classes,
        class_counts=_class_counts(cases),
        beside=judged.beside,
    )


def _class_counts(cases: Cases) -> dict[str, int]:
    if cases.task in (Task.REGRESSION, Task.SEGMENTATION):
        return {}
    if cases.task is Task.MULTILABEL:
        return {name: int((column == 1).sum()) for name, column in zip(cases.classes, cases.labels.T)}
    return {name: int((cases.labels == k).sum()) for k, name in enumerate(cases.classes)}
