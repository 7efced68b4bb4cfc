"""Judging what decides: endpoints of all cases together, then of each class, cut or label as a binary question.

BINARY has one question and nothing beside it. MULTICLASS: accuracy and the multi-class Brier score, then each class
against the rest. ORDINAL: accuracy, quadratic-weighted kappa and the ranked probability score, then each cut.
MULTILABEL: sensitivity, specificity and Brier score over all known (case, label) pairs, then each label.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from primum.config import ClinicalPolicy
from primum.task import Task
from primum.validation.arrays import Bools, Floats, Ints
from primum.validation.cases import Cases
from primum.validation.decisions import NO_DECISION, Rule
from primum.validation.macro import macro_auroc
from primum.validation.multiclass import marginal_shift, quadratic_losses, worst_if_broken
from primum.validation.ordinal import farthest_if_none, ranked_probability_losses
from primum.validation.outcomes import named, not_assessed
from primum.validation.rates import RATES, judge_rate
from primum.validation.scores import judge_auroc, judge_brier, judge_kappa, judge_loss
from primum.validation.sufficiency import mark_mean, mark_rare, mark_rate, mark_unseen
from primum.validation.verdict import Component, Outcome, waiver
from primum.validation.views import View, views

POOLED = {
    Task.BINARY: ("sensitivity", "specificity", "auroc", "brier"),
    Task.MULTICLASS: ("accuracy", "brier"),
    Task.ORDINAL: ("accuracy", "kappa", "brier"),
    Task.MULTILABEL: ("sensitivity", "specificity", "brier"),
}
"""The endpoints of all cases together."""
_WITH_BRIER = (Task.BINARY, Task.MULTILABEL)
"""Tasks whose views have Brier scores of their own; the others' one score is of all classes at once."""


@dataclass(frozen=True, eq=False)
class Pooled:
    """What the endpoints of all cases rest on: m decisions, of (case, label) pairs for MULTILABEL, else of cases."""

    rows: Ints
    """(m,) positions in the judged cases."""
    truth: Ints
    """(m,) class index, or 0/1."""
    right: tuple[Bools, Bools]
    """Reference, candidate (m,)."""
    losses: tuple[Floats, Floats]


@dataclass(frozen=True, eq=False)
class Answers:
    """What both models say of the cases of a classification, in every form in which it is judged."""

    cases: Cases
    reference: Floats
    """Scores as `Rule` takes them; finite."""
    candidate: Floats
    """NaN for the whole case where one of several class probabilities is not finite."""
    calls: tuple[Ints, Ints]
    """Decisions of reference and candidate."""
    views: tuple[View, ...]
    pooled: Pooled

    @classmethod
    def of(cls, cases: Cases, reference: Floats, candidate: Floats, rule: Rule) -> Answers:
        """The answers that two arrays of scores give under `rule`."""
        if cases.task in (Task.MULTICLASS, Task.ORDINAL):
            candidate = np.where(np.isfinite(candidate).all(axis=1, keepdims=True), candidate, np.nan)
        calls = rule.decisions(reference), rule.decisions(candidate)
        found = views(cases, reference, candidate, rule)
        return cls(cases, reference, candidate, calls, found, _pool(cases, (reference, candidate), calls))


def judge_answers(answers: Answers, policy: ClinicalPolicy) -> tuple[Component, ...]:
    """Every component of the whole: pooled ones first, then by view; classes too rare are INSUFFICIENT."""
    everyone = np.ones(len(answers.cases), dtype=np.bool_)
    parts = judge_pooled(answers, everyone, policy)
    for view in answers.views:
        judged = _judge_view(answers, view, everyone, policy)
        parts += judged if answers.cases.task is Task.BINARY else _mark_view(answers, view, judged, policy)
    return tuple(parts)


def judge_level(
    answers: Answers, member: Bools, policy: ClinicalPolicy
) -> tuple[list[Component], tuple[Component, ...]]:
    """(deciding, reported) components of the cases in `member` (N,); each too small to decide is INSUFFICIENT.

    A rate without a case of its class is left out: the level is judged on the classes that it has. BINARY reports the
    Brier score, and is decided by its two rates.
    """
    confidence = policy.confidence
    if answers.cases.task is Task.BINARY:
        (view,) = answers.views
        chosen = view.rows[member[view.rows]]
        scores = view.labels[chosen], view.reference[chosen], view.candidate[chosen]
        brier = mark_mean(judge_brier(*scores, answers.cases.units[chosen], policy), confidence)
        return list(_rates(answers, view, member, policy)), (brier,)
    parts = []
    for part in judge_pooled(answers, member, policy):
        if part.n:
            rate = part.table is not None
            parts.append(mark_rate(part, "cases", confidence) if rate else mark_mean(part, confidence))
    for view in answers.views:
        parts += _rates(answers, view, member, policy)
    return parts, ()


def judge_pooled(answers: Answers, member: Bools, policy: ClinicalPolicy) -> list[Component]:
    """The endpoints of all cases in `member` together; none for BINARY, whose one view is all there is."""
    cases, pooled = answers.cases, answers.pooled
    if cases.task is Task.BINARY:
        return []
    inside = member[pooled.rows]
    units = cases.units[pooled.rows]
    parts = []
    if cases.task is Task.MULTILABEL:
        asked = [(name, inside & (pooled.truth == label)) for name, label, _ in RATES]
    else:
        asked = [("accuracy", inside)]
    for name, chosen in asked:
        right = pooled.right[0][chosen], pooled.right[1][chosen]
        parts.append(judge_rate(name, *right, units[chosen], policy))
    if cases.task is Task.ORDINAL:
        parts.append(_kappa(answers, member, policy))
    if inside.any():
        losses = pooled.losses[0][inside], pooled.losses[1][inside]
        parts.append(judge_loss("brier", *losses, units[inside], policy, worst=1.0))
    else:
        parts.append(not_assessed("brier", policy, "no label is known"))
    return parts


def figures_beside(answers: Answers, policy: ClinicalPolicy) -> dict[str, float]:
    """What describes the pair of models and decides nothing: shifts of the named classes (MULTICLASS, ORDINAL) and
    macro-AUROC with its patient bootstrap (every task but BINARY)."""
    cases = answers.cases
    if cases.task is Task.BINARY:
        return {}
    beside: dict[str, float] = {}
    if cases.task is not Task.MULTILABEL:
        # A candidate without a decision names a class of its own.
        first, second = (np.where(call == NO_DECISION, len(cases.classes), call) for call in answers.calls)
        stuart, bhapkar = marginal_shift(first, second, len(cases.classes) + 1, cases.units)
        beside["stuart_maxwell_statistic"], beside["stuart_maxwell_p"] = stuart.statistic, stuart.p_value
        beside["bhapkar_statistic"], beside["bhapkar_p"] = bhapkar.statistic, bhapkar.p_value
        beside["shift_degrees_of_freedom"] = float(stuart.degrees_of_freedom)
    macro = macro_auroc(answers.views, cases.units, policy.confidence)
    beside |= {
        "macro_auroc_reference": macro.reference,
        "macro_auroc_candidate": macro.candidate,
        "macro_auroc_difference": macro.difference,
        "macro_auroc_lower": macro.lower,
        "macro_auroc_upper": macro.upper,
        "macro_auroc_views": float(macro.n_views),
        "macro_auroc_resamples": float(macro.resamples),
    }
    if cases.task is Task.MULTILABEL:
        beside["unknown_labels"] = float((cases.labels < 0).sum())
    return beside


def _pool(cases: Cases, scores: tuple[Floats, Floats], calls: tuple[Ints, Ints]) -> Pooled:
    labels = cases.labels
    if cases.task is Task.MULTILABEL:
        known = labels >= 0
        rows, truth = np.nonzero(known)[0], labels[known]
        right = [call[known] == truth for call in calls]
        losses = [worst_if_broken((score[known] - truth) ** 2) for score in scores]
    else:
        rows, truth = np.arange(len(cases)), labels
        right = [call == truth for call in calls]
        loss = ranked_probability_losses if cases.task is Task.ORDINAL else quadratic_losses
        losses = [] if cases.task is Task.BINARY else [loss(truth, score) for score in scores]
        losses = losses or [np.zeros(len(cases))] * 2
    return Pooled(rows.astype(np.int64), truth, (right[0], right[1]), (losses[0], losses[1]))


def _kappa(answers: Answers, member: Bools, policy: ClinicalPolicy) -> Component:
    cases = answers.cases
    labels, grades = cases.labels, len(cases.classes)
    ref, new = (farthest_if_none(call, labels, grades)[member] for call in answers.calls)
    return judge_kappa(labels[member], ref, new, grades, cases.units[member], policy)


def _rates(answers: Answers, view: View, member: Bools, policy: ClinicalPolicy) -> Iterator[Component]:
    """The view's rates on the cases in `member`, of those classes that it has, marked where they are too few."""
    inside = member[view.rows]
    for kind, label, noun in RATES:
        chosen = inside & (view.labels == label)
        if chosen.any():
            yield mark_rate(_rate(answers, view, kind, chosen, policy), noun, policy.confidence)


def _rate(answers: Answers, view: View, kind: str, chosen: Bools, policy: ClinicalPolicy) -> Component:
    right = view.reference_right[chosen], view.candidate_right[chosen]
    part = judge_rate(named(kind, view.name), *right, answers.cases.units[view.rows[chosen]], policy)
    return replace(part, view=view.name)


def _judge_view(answers: Answers, view: View, member: Bools, policy: ClinicalPolicy) -> list[Component]:
    """Sensitivity, specificity, AUROC and, where it has its own, Brier score of one binary question."""
    parts = [_rate(answers, view, kind, view.labels == label, policy) for kind, label, _ in RATES]
    names = ["auroc", "brier"] if answers.cases.task in _WITH_BRIER else ["auroc"]
    for kind in names:
        name = named(kind, view.name)
        if not view.labels.size:
            parts.append(not_assessed(name, policy, "no label is known"))
            continue
        judge = judge_auroc if kind == "auroc" else judge_brier
        units = answers.cases.units[view.rows]
        parts.append(judge(view.labels, view.reference, view.candidate, units, policy, name))
    return [replace(part, view=view.name) for part in parts]


def _mark_view(answers: Answers, view: View, parts: list[Component], policy: ClinicalPolicy) -> list[Component]:
    """A class too rare for its rates is INSUFFICIENT, in these and in what its other endpoints leave open.

    Where all cases are of one class there is nothing to tell apart, and they stay NOT_ASSESSED.
    """
    if answers.cases.task is not Task.MULTILABEL and np.unique(answers.cases.labels).size < 2:
        return parts
    rates = [mark_rate(part, noun, policy.confidence) for part, (_, _, noun) in zip(parts, RATES)]
    rare = [part for part in rates if part.outcome is Outcome.INSUFFICIENT]
    others = [mark_unseen(part, policy.confidence) for part in parts[len(rates) :]]
    if rare:
        smaller = min(part.n_patients for part in rates)
        others = [mark_rare(part, smaller, rare[0]) for part in others]
    waived = waiver(view.name) in policy.waived_subgroups
    return [replace(p, waived=waived and p.outcome is Outcome.INSUFFICIENT) for p in (*rates, *others)]
