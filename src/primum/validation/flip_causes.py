"""Which patients' decisions change: how near they lay to the threshold, in which subgroups, and who nearly followed.

Everything here is descriptive: it explains a verdict and takes part in none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf, isfinite, nan

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import fisher_exact

from primum.errors import InputError
from primum.task import Task
from primum.validation.arrays import Bools, Floats, Ints
from primum.validation.cases import MISSING, Cases
from primum.validation.decisions import NO_DECISION, Rule
from primum.validation.intervals import Interval
from primum.validation.multiplicity import holm
from primum.validation.proportions import clopper_pearson_interval

SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Upper ends of the distance bins, as shares of all cases, from the nearest to the threshold."""
NEAR, FAR = 0.1, 0.25
TRUTH = "(true class)"
"""The grouping that the labels themselves make."""
NEAR_MISSES = 10


@dataclass(frozen=True, slots=True)
class DistanceBin:
    """Cases by the reference's own distance from turning over: ranks between two shares of all cases."""

    share_from: float
    share_to: float
    n: int
    flips: int
    largest: float
    """Largest margin in the bin (score units; the lead of the first class over the second where classes compete)."""
    rate: Interval
    """Share of cases that flipped, Clopper-Pearson."""


@dataclass(frozen=True, slots=True)
class LevelCause:
    """One level of one grouping column. Cases count once each, however many of a patient's or labels flip."""

    column: str
    value: str
    n: int
    flips: int
    rate: Interval
    """Clopper-Pearson."""
    relative_risk: float
    """Flip rate here / flip rate of all other cases; infinite where no other case flipped, NaN where none is left or
    none flipped anywhere."""
    expected: float
    """Flips to expect from the distances of its cases alone: the bins' flip rates, summed over its cases."""
    p_value: float
    """Fisher's exact test of this level against the rest, two-sided; NaN where there is no rest."""
    p_adjusted: float
    """Holm's adjustment over all comparisons; the two levels of a column with two make one comparison."""


@dataclass(frozen=True, slots=True)
class RepeatedFlips:
    """One patient with several flipped cases."""

    cases: int
    """How many cases the patient has."""
    case_ids: tuple[str, ...]
    """The flipped ones."""


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A case that did not flip, but is the candidate's nearest to doing so."""

    case_id: str
    label: str
    """MULTILABEL: the finding that nearly flipped; else ""."""
    reference_margin: float
    candidate_margin: float


@dataclass(frozen=True, slots=True)
class FlipCauses:
    """What the flipped cases have in common."""

    n: int
    """Cases with a finite reference; the others have no decision that could change."""
    flips: int
    """Cases of which a decision changed (in MULTILABEL, any of the case's known labels)."""
    left_out: int
    """Cases whose reference is not finite."""
    bins: tuple[DistanceBin, ...]
    nearest_share: float
    """Share of the flips that lie in the nearest tenth of the cases; NaN without flips. By chance: 0.1."""
    levels: tuple[LevelCause, ...]
    """Most telling first: by adjusted p-value, then by relative risk."""
    repeated: tuple[RepeatedFlips, ...]
    far: tuple[str, ...]
    """Flipped cases outside the nearest quarter, the farthest first: nearness does not explain them."""
    near_misses: tuple[NearMiss, ...]
    clustered: bool
    """Some patient has several cases: intervals and p-values, which take cases as independent, are too sharp."""
    confidence: float


def flip_causes(
    cases: Cases, reference: ArrayLike, candidate: ArrayLike, rule: Rule, confidence: float = 0.95
) -> FlipCauses:
    """Describe the cases on which `candidate` decides differently from `reference`; scores as `rule` takes them.

    A candidate that is not finite has changed the decision. In MULTILABEL a case lies as far from turning over as its
    nearest known label, and labels that are not known count for nothing. InputError where scores and cases differ.
    """
    before, after = _wide(rule.decisions(reference)), _wide(rule.decisions(candidate))
    if len(before) != len(cases) or before.shape != after.shape:
        raise InputError(f"{len(cases)} cases, {len(before)} reference and {len(after)} candidate scores do not match")
    asked = _wide(cases.labels) >= 0 if cases.task is Task.MULTILABEL else np.ones(before.shape, dtype=np.bool_)
    asked &= before != NO_DECISION
    known = np.flatnonzero(asked.any(axis=1))
    flipped = ((before != after) & asked).any(axis=1)[known]
    margins = np.where(asked, _wide(rule.margins(reference)), np.inf)
    nearest = margins.min(axis=1)[known]
    rank = np.empty(len(known), dtype=np.int64)
    rank[np.argsort(nearest, kind="stable")] = np.arange(len(known))
    bins = _bins(flipped, nearest, rank, confidence)
    far = known[flipped & (rank >= ceil(FAR * len(known)))]
    flips = int(flipped.sum())
    return FlipCauses(
        n=len(known),
        flips=flips,
        left_out=len(cases) - len(known),
        bins=bins,
        nearest_share=float(flipped[rank < ceil(NEAR * len(known))].sum() / flips) if flips else nan,
        levels=_levels(cases, known, flipped, _expected(bins, rank), confidence),
        repeated=_repeated(cases, known[flipped]),
        far=tuple(str(cases.case_ids[i]) for i in sorted(far, key=lambda i: -margins[i].min())),
        near_misses=_near_misses(cases, margins, _wide(rule.margins(candidate)), asked, known[~flipped]),
        clustered=np.unique(cases.units).size < len(cases),
        confidence=confidence,
    )


def _adjusted(p_values: list[float]) -> Floats:
    """Holm's adjustment of those that are numbers; NaN stays NaN and is not counted as a comparison."""
    p = np.array(p_values)
    known = np.isfinite(p)
    p[known] = holm(p[known]).adjusted
    return p


def _wide(values: Ints | Floats) -> np.ndarray:
    return values.reshape(len(values), -1)


def _bins(flipped: Bools, nearest: Floats, rank: Ints, confidence: float) -> tuple[DistanceBin, ...]:
    n, start, found = len(flipped), 0, []
    for low, high in zip((0.0, *SHARES), SHARES):
        end = ceil(high * n)
        member = (rank >= start) & (rank < end)
        if member.any():
            size, flips = int(member.sum()), int(flipped[member].sum())
            rate = clopper_pearson_interval(flips, size, confidence)
            found.append(DistanceBin(low, high, size, flips, float(nearest[member].max()), rate))
        start = end
    return tuple(found)


def _expected(bins: tuple[DistanceBin, ...], rank: Ints) -> Floats:
    """The flip rate of each case's bin (n,)."""
    ends = np.cumsum([b.n for b in bins])
    rates = np.array([b.rate.estimate for b in bins])
    return rates[np.searchsorted(ends, rank, side="right")] if bins else np.zeros(0)


def _levels(cases: Cases, known: Ints, flipped: Bools, expected: Floats, confidence: float) -> tuple[LevelCause, ...]:
    found: list[LevelCause] = []
    keys = []
    for column, values in _groupings(cases).items():
        own = values[known]
        levels = sorted(set(own.tolist()), key=lambda v: (v == MISSING, v))
        for value in levels:
            member = own == value
            found.append(_level(column, str(value), flipped, member, float(expected[member].sum()), confidence))
            keys.append(column if len(levels) == 2 else f"{column}={value}")
    # Of a column with two levels, each against the rest is the same comparison.
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    adjusted = _adjusted([part.p_value if first[key] == i else nan for i, (part, key) in enumerate(zip(found, keys))])
    found = [replace(part, p_adjusted=float(adjusted[first[key]])) for part, key in zip(found, keys)]
    return tuple(sorted(found, key=_telling))


def _groupings(cases: Cases) -> dict[str, np.ndarray]:
    if cases.task not in (Task.BINARY, Task.MULTICLASS, Task.ORDINAL):
        return cases.groups
    names = np.asarray([str(name) for name in cases.classes])
    return {**cases.groups, TRUTH: names[cases.labels]}


def _level(column: str, value: str, flipped: Bools, member: Bools, expected: float, confidence: float) -> LevelCause:
    n, flips = int(member.sum()), int(flipped[member].sum())
    others, other_flips = int((~member).sum()), int(flipped[~member].sum())
    p_value = nan
    if others:
        p_value = float(fisher_exact([[flips, n - flips], [other_flips, others - other_flips]]).pvalue)
    rate = clopper_pearson_interval(flips, n, confidence)
    return LevelCause(column, value, n, flips, rate, _ratio(flips, n, other_flips, others), expected, p_value, nan)


def _ratio(flips: int, n: int, other_flips: int, others: int) -> float:
    if not others or not (flips or other_flips):
        return nan
    return inf if not other_flips else (flips / n) / (other_flips / others)


def _telling(part: LevelCause) -> tuple[float, float, str, str]:
    p = part.p_adjusted if isfinite(part.p_adjusted) else inf
    risk = part.relative_risk if part.relative_risk == part.relative_risk else -inf
    return p, -risk, part.column, part.value


def _repeated(cases: Cases, flipped: Ints) -> tuple[RepeatedFlips, ...]:
    """Patients with several flipped cases, the most first; their ids stay here."""
    units, counts = np.unique(cases.units, return_counts=True)
    total = dict(zip(units.tolist(), counts.tolist()))
    members: dict[str, list[str]] = {}
    for i in flipped:
        members.setdefault(str(cases.units[i]), []).append(str(cases.case_ids[i]))
    found = [RepeatedFlips(total[unit], tuple(ids)) for unit, ids in members.items() if len(ids) > 1]
    return tuple(sorted(found, key=lambda r: (-len(r.case_ids), r.case_ids)))


def _near_misses(cases: Cases, reference: Floats, candidate: Floats, asked: Bools, kept: Ints) -> tuple[NearMiss, ...]:
    left = np.where(asked, candidate, np.inf)[kept]
    if not len(kept):
        return ()
    label = left.argmin(axis=1)
    smallest = left.min(axis=1)
    found = []
    for place in np.argsort(smallest, kind="stable")[:NEAR_MISSES]:
        i, which = kept[place], label[place]
        name = str(cases.classes[which]) if cases.task is Task.MULTILABEL else ""
        found.append(NearMiss(str(cases.case_ids[i]), name, float(reference[i, which]), float(smallest[place])))
    return tuple(found)
