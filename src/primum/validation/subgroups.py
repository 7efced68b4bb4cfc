"""Subgroups: every level of every grouping column, judged at the same margins as the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from primum.config import ClinicalPolicy
from primum.task import Task
from primum.validation.arrays import Bools
from primum.validation.cases import MISSING, Cases
from primum.validation.multiplicity import holm
from primum.validation.sufficiency import harm_p_value
from primum.validation.verdict import Component, Outcome, SubgroupVerdict, waiver

JudgeLevel = Callable[[Bools], tuple[list[Component], tuple[Component, ...]]]
"""From the cases of a level (N,) to its deciding and its reported components."""
_PRECEDENCE = (Outcome.INFERIOR, Outcome.NOT_ASSESSED, Outcome.INSUFFICIENT, Outcome.INCONCLUSIVE)


def judge_subgroups(cases: Cases, judge_level: JudgeLevel, policy: ClinicalPolicy) -> tuple[SubgroupVerdict, ...]:
    """One verdict a level; columns as given, levels sorted, "(missing)" last."""
    verdicts = []
    for column, values in cases.groups.items():
        for level in sorted(set(values.tolist()), key=lambda v: (v == MISSING, v)):
            member = values == level
            verdicts.append(_judge_one(cases, column, level, member, judge_level, policy))
    return _flag_harm(verdicts, (1 - policy.confidence) / 2)


def _judge_one(
    cases: Cases, column: str, level: str, member: Bools, judge_level: JudgeLevel, policy: ClinicalPolicy
) -> SubgroupVerdict:
    components, reported = judge_level(member)
    rare = {part.view for part in components if part.view and waiver(part.view) in policy.waived_subgroups}
    components = [
        replace(part, waived=part.outcome is Outcome.INSUFFICIENT and part.view in rare) for part in components
    ]
    reasons = [f"{part.name}: {part.reason}" for part in components if part.reason]
    return SubgroupVerdict(
        column=column,
        value=level,
        n=int(member.sum()),
        n_patients=int(np.unique(cases.units[member]).size),
        n_positive=int(cases.labels[member].sum()) if cases.task is Task.BINARY else None,
        outcome=_level_outcome(components),
        components=tuple(components),
        waived=f"{column}={level}" in policy.waived_subgroups,
        reason="; ".join(reasons) if components else "no label is known here",
        reported=reported,
    )


def _level_outcome(components: list[Component]) -> Outcome:
    """The first of the precedence that some component has; nothing judged is INSUFFICIENT."""
    outcomes = {part.outcome for part in components}
    if not components:
        return Outcome.INSUFFICIENT
    return next((outcome for outcome in _PRECEDENCE if outcome in outcomes), Outcome.NON_INFERIOR)


def _flag_harm(verdicts: list[SubgroupVerdict], alpha: float) -> tuple[SubgroupVerdict, ...]:
    """The levels with their p-values of harm, adjusted over all components of all levels."""
    tested = [
        (place, p)
        for place, level in enumerate(verdicts)
        for part in level.components
        if (p := harm_p_value(part)) is not None
    ]
    found = holm([p for _, p in tested], alpha)
    smallest: dict[int, float] = {}
    for (place, _), adjusted in zip(tested, found.adjusted):
        smallest[place] = min(adjusted, smallest.get(place, 1.0))
    return tuple(
        replace(level, harm_p_adjusted=smallest.get(place), harmed=smallest.get(place, 1.0) <= alpha)
        for place, level in enumerate(verdicts)
    )
