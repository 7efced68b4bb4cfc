"""What labelled data can show before anybody judges with them, and how many patients it would take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.special import bdtrc

from primum.config import ClinicalPolicy
from primum.errors import InputError
from primum.validation.arrays import Bools
from primum.validation.cases import MISSING, Cases
from primum.validation.conformal import patients_needed
from primum.validation.planning import Plan, plan
from primum.validation.power import power_noninferiority, required_positives
from primum.validation.unseen_plan import say_unseen
from primum.validation.views import Question, questions

GOALS = (0.8, 0.9)
RECRUITED = 0.95
"""Probability with which enough patients of both classes are to be among those recruited."""
_TOO_MANY = 200_000
_SAWTOOTH = 200
"""Exact power is no straight line: so many larger n are looked at too."""


@dataclass(frozen=True, slots=True)
class RateNeed:
    """Patients of one class that a rate takes, overall or in any one subgroup."""

    name: str
    margin: float
    margin_given: bool
    without_flip: int
    """Even if no decision changes."""
    for_80: int | None
    """For 80 % power at the assumed loss and gain; None where no number does (up to 200,000)."""
    for_90: int | None


@dataclass(frozen=True, slots=True)
class Recruitment:
    """Patients to recruit, one after the other, at a prevalence."""

    prevalence: float
    for_80: int | None
    """With probability 0.95 both classes then have enough for 80 % power of each rate."""
    for_90: int | None


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """The data at hand, or one subgroup of them, on one binary question, in patients."""

    level: str
    """"all", or "column=value"."""
    question: str
    """"" for BINARY."""
    patients: int
    power: Plan
    missing_positives: int | None
    """Patients that are missing for 80 % power; None where no number would do."""
    missing_negatives: int | None
    patients_80: int | None
    """Patients of such data (same mix of classes and groups) altogether for 80 % power here."""


@dataclass(frozen=True, slots=True)
class GuardNeed:
    """Guard patients of each class that the original calls, for a band to exist."""

    epsilon: float
    delta: float | None
    patients: int


@dataclass(frozen=True, slots=True)
class DataPlan:
    """Sample sizes and power of the co-primary rates, in patients: several cases of one add less than their number."""

    loss: float
    """Assumed share of decisions that the candidate loses, and wins."""
    gain: float
    confidence: float
    sensitivity: RateNeed | None
    """None for values and masks, which have no decisions; `notes` say what their margins take."""
    specificity: RateNeed | None
    recruitment: tuple[Recruitment, ...]
    guard: GuardNeed | None
    levels: tuple[LevelPlan, ...]
    """All patients first, then each level of each grouping column; empty without data."""
    notes: tuple[str, ...] = ()


def plan_data(
    policy: ClinicalPolicy,
    cases: Cases | None = None,
    loss: float = 0.005,
    gain: float = 0.005,
    prevalences: Sequence[float] = (),
    guard: tuple[float, float | None] | None = None,
) -> DataPlan:
    """Plan a validation at the policy's margins; `guard` is (epsilon, delta). `cases` give the data at hand.

    Sample sizes are for Tango's one-sided test by exact power (Tango 1998, trinomial enumeration). InputError on
    impossible rates, and on prevalences or a guard for values or masks, which have no decisions.
    """
    asked = questions(cases) if cases is not None else ()
    if cases is not None and not asked:
        return _without_rates(policy, cases, loss, gain, prevalences, guard)
    needs = [_need(name, policy, loss, gain) for name in ("sensitivity", "specificity")]
    levels: list[LevelPlan] = []
    if cases is not None:
        levels = [part for question in asked for part in _levels(cases, question, policy, needs, loss, gain)]
    return DataPlan(
        loss=loss,
        gain=gain,
        confidence=policy.confidence,
        sensitivity=needs[0],
        specificity=needs[1],
        recruitment=tuple(_recruit(share, needs) for share in prevalences),
        guard=None if guard is None else GuardNeed(*guard, patients_needed(*guard)),
        levels=tuple(sorted(levels, key=lambda part: part.level != "all")),
        notes=say_unseen(policy, cases),
    )


def _without_rates(
    policy: ClinicalPolicy,
    cases: Cases,
    loss: float,
    gain: float,
    prevalences: Sequence[float],
    guard: tuple[float, float | None] | None,
) -> DataPlan:
    """Values and masks: what their margins take if nothing changes; power needs differences that were seen."""
    if prevalences or guard is not None:
        raise InputError(f"a {cases.task.value} task has no decisions: no prevalence and no guard to plan for")
    notes = (*say_unseen(policy, cases), "what changes takes more: judge a few patients, and the verdict says how many")
    return DataPlan(loss, gain, policy.confidence, None, None, (), None, (), notes)


def needed_for_power(goal: float, loss: float, gain: float, margin: float, alpha: float = 0.025) -> int | None:
    """The smallest n from which Tango's test has this exact power; None above 200,000.

    The power rises in small saws: the 200 next larger n have it too. InputError as `power_noninferiority`.
    """

    def enough(n: int) -> bool:
        return power_noninferiority(n, loss, gain, margin, alpha).power >= goal

    low, high = 1, required_positives(margin, alpha)
    while not enough(high):
        low, high = high, high * 2
        if high > _TOO_MANY:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    later = [n for n in range(high, high + _SAWTOOTH) if not enough(n)]
    return max(later) + 1 if later else high


def recruits(wanted: int, share: float, probability: float = RECRUITED) -> int:
    """Patients to recruit so that, with this probability, at least `wanted` of them belong to a class of that share.

    The smallest n with P(Bin(n, share) >= wanted) >= probability. InputError unless 0 < share < 1.
    """
    if not 0 < share < 1:
        raise InputError(f"a prevalence must lie between 0 and 1, got {share}")
    if wanted < 1:
        return 0
    low, high = wanted - 1, wanted
    while bdtrc(wanted - 1, high, share) < probability:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if bdtrc(wanted - 1, middle, share) >= probability else (middle, high)
    return high


def _need(name: str, policy: ClinicalPolicy, loss: float, gain: float) -> RateNeed:
    margin, alpha = policy.margins.value(name), (1 - policy.confidence) / 2
    counts = [needed_for_power(goal, loss, gain, margin, alpha) for goal in GOALS]
    return RateNeed(name, margin, policy.margins.given(name), required_positives(margin, alpha), *counts)


def _recruit(prevalence: float, needs: Sequence[RateNeed]) -> Recruitment:
    shares = prevalence, 1 - prevalence

    def total(counts: Sequence[int | None]) -> int | None:
        known = [recruits(n, share, 1 - (1 - RECRUITED) / 2) for n, share in zip(counts, shares) if n is not None]
        return max(known) if len(known) == len(shares) else None

    return Recruitment(prevalence, total([n.for_80 for n in needs]), total([n.for_90 for n in needs]))


def _levels(
    cases: Cases, question: Question, policy: ClinicalPolicy, needs: Sequence[RateNeed], loss: float, gain: float
) -> list[LevelPlan]:
    everyone = int(np.unique(cases.units[question.rows]).size)
    members: list[tuple[str, Bools]] = [("all", np.ones(question.rows.size, np.bool_))]
    for column, values in cases.groups.items():
        own = values[question.rows]
        names = sorted(set(own.tolist()), key=lambda v: (v == MISSING, v))
        members += [(f"{column}={name}", own == name) for name in names]
    found = []
    for level, member in members:
        rows = question.rows[member]
        sick, well = (int(np.unique(cases.units[rows][question.labels[member] == k]).size) for k in (1, 0))
        power = plan(sick, well, policy.margins, loss, gain, policy.confidence)
        missing = [None if need.for_80 is None else max(0, need.for_80 - n) for need, n in zip(needs, (sick, well))]
        total = _alike(needs, (sick, well), everyone)
        patients = int(np.unique(cases.units[rows]).size)
        found.append(LevelPlan(level, question.name, patients, power, missing[0], missing[1], total))
    return found


def _alike(needs: Sequence[RateNeed], counts: tuple[int, int], everyone: int) -> int | None:
    """Patients with the same mix for 80 % power of both rates; None where a class is absent or no number does."""
    if 0 in counts or any(need.for_80 is None for need in needs):
        return None
    return max(ceil((need.for_80 or 0) / count * everyone) for need, count in zip(needs, counts))
