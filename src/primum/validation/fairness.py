"""Equal opportunity: how far apart the sensitivities of the groups lie, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np

from primum.config import ClinicalPolicy
from primum.validation.cases import MISSING, Cases
from primum.validation.power import required_positives
from primum.validation.views import View


@dataclass(frozen=True, slots=True)
class GroupRate:
    """Sensitivity of both models in one level of a grouping column."""

    level: str
    n_positive: int
    patients_positive: int
    reference: float
    candidate: float
    assessable: bool
    """Enough patients with positives to support the margin, even with no flip."""


@dataclass(frozen=True, slots=True)
class Fairness:
    """One grouping column on one binary question. Gaps and ratios are over the assessable levels; NaN below two."""

    column: str
    name: str
    """The view; "" for BINARY."""
    levels: tuple[GroupRate, ...]
    required: int
    """Patients with positives that make a level assessable."""
    reference_gap: float
    """Equal-opportunity difference: largest less smallest sensitivity."""
    candidate_gap: float
    reference_ratio: float
    """Smallest over largest sensitivity; 1 is equal."""
    candidate_ratio: float
    worst: str
    """Level with the lowest sensitivity of the candidate; "" where there is no ratio."""

    @property
    def change(self) -> float:
        """Growth of the gap: above 0 the candidate is less equal than the original."""
        return self.candidate_gap - self.reference_gap

    @property
    def insufficient(self) -> tuple[str, ...]:
        """Levels with positives too few to be compared."""
        return tuple(rate.level for rate in self.levels if not rate.assessable)


def fairness(cases: Cases, seen: tuple[View, ...], policy: ClinicalPolicy) -> tuple[Fairness, ...]:
    """Each grouping column on each binary question; levels sorted, "(missing)" last, those without positives left
    out."""
    required = required_positives(policy.margins.value("sensitivity"), (1 - policy.confidence) / 2)
    return tuple(
        equal_opportunity(column, view, values[view.rows], cases.units[view.rows], required)
        for column, values in cases.groups.items()
        for view in seen
    )


def equal_opportunity(column: str, view: View, groups: np.ndarray, units: np.ndarray, required: int = 1) -> Fairness:
    """Sensitivity by level of `groups` (n,); gaps and ratios as fairlearn's equal opportunity between groups."""
    positive = view.labels == 1
    right = view.reference_right, view.candidate_right
    levels = []
    for level in sorted(set(groups[positive].tolist()), key=lambda v: (v == MISSING, v)):
        member = positive & (groups == level)
        patients = int(np.unique(units[member]).size)
        before, after = float(right[0][member].mean()), float(right[1][member].mean())
        levels.append(GroupRate(str(level), int(member.sum()), patients, before, after, patients >= required))
    kept = [rate for rate in levels if rate.assessable]
    first, second = _spread([rate.reference for rate in kept]), _spread([rate.candidate for rate in kept])
    worst = min(kept, key=lambda rate: rate.candidate).level if len(kept) > 1 else ""
    return Fairness(column, view.name, tuple(levels), required, first[0], second[0], first[1], second[1], worst)


def _spread(rates: list[float]) -> tuple[float, float]:
    """(largest - smallest, smallest / largest); NaN below two groups, the ratio also where nobody is found."""
    if len(rates) < 2:
        return nan, nan
    low, high = min(rates), max(rates)
    return high - low, low / high if high > 0 else nan
