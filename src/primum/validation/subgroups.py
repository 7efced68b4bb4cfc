"""Subgroups: every level of every grouping column, judged on both rates at the same margins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from primum.config import ClinicalPolicy
from primum.validation.arrays import Bools
from primum.validation.cases import MISSING, Cases
from primum.validation.power import required_positives
from primum.validation.rates import RATES, judge_rate
from primum.validation.verdict import Component, Outcome, SubgroupVerdict


def judge_subgroups(
    cases: Cases, reference_right: Bools, candidate_right: Bools, policy: ClinicalPolicy
) -> tuple[SubgroupVerdict, ...]:
    """One verdict a level from correctness (N,); columns as given, levels sorted, "(missing)" last."""
    right = reference_right, candidate_right
    verdicts = []
    for column, values in cases.groups.items():
        for level in sorted(set(values.tolist()), key=lambda v: (v == MISSING, v)):
            member = values == level
            verdicts.append(_judge_level(cases, column, level, member, right, policy))
    return tuple(verdicts)


def _judge_level(
    cases: Cases,
    column: str,
    level: str,
    member: Bools,
    right: tuple[Bools, Bools],
    policy: ClinicalPolicy,
) -> SubgroupVerdict:
    components, reasons = [], []
    for name, label, noun in RATES:
        chosen = member & (cases.labels == label)
        if not chosen.any():
            continue
        part = judge_rate(name, right[0][chosen], right[1][chosen], cases.units[chosen], policy)
        part = _mark_insufficient(part, noun, policy.confidence)
        components.append(part)
        if part.reason:
            reasons.append(f"{name}: {part.reason}")
    return SubgroupVerdict(
        column=column,
        value=level,
        n=int(member.sum()),
        n_patients=int(np.unique(cases.units[member]).size),
        n_positive=int(cases.labels[member].sum()),
        outcome=_level_outcome(components),
        components=tuple(components),
        waived=f"{column}={level}" in policy.waived_subgroups,
        reason="; ".join(reasons),
    )


def _mark_insufficient(part: Component, noun: str, confidence: float) -> Component:
    """INSUFFICIENT where even zero flips could not decide, unless harm shows in spite of the size.

    Harm shows where the whole interval lies beyond the margin *and* the losses are more than chance by the
    exact test on patients (five or more one-way losses at 95 %): one lost case in a level of one is not harm
    shown.
    """
    needed = required_positives(part.margin, (1 - confidence) / 2)
    if part.n_patients >= needed:
        return part
    p_value = part.beside.get("mcnemar_midp_patients", part.beside["mcnemar_midp"])
    if part.outcome is Outcome.INFERIOR and p_value < 1 - confidence:
        return part
    kind = noun if part.n_patients == part.n else f"patients with {noun}"
    have = f"{part.n_patients} {kind} are too few for a margin of {part.margin:.3f}"
    reason = f"{have}: even with no flip {needed} are needed"
    return replace(part, outcome=Outcome.INSUFFICIENT, n_would_decide=needed, reason=reason)


def _level_outcome(components: list[Component]) -> Outcome:
    outcomes = {part.outcome for part in components}
    for outcome in (Outcome.INFERIOR, Outcome.INSUFFICIENT, Outcome.INCONCLUSIVE):
        if outcome in outcomes:
            return outcome
    return Outcome.NON_INFERIOR
