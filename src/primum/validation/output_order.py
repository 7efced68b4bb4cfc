"""Whether the outputs of an original fit its labels clearly better in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import ndtri
from scipy.stats import rankdata

from primum.validation.arrays import Floats, Ints
from primum.validation.auroc import auroc_pair

ERROR = 0.0001
"""How often, at most, an original without skill may be refused: a study that is refused wrongly cannot be run."""
MUCH = 0.1
"""Mean gain of AUROC by another order that is more than two similar classes bring about."""
_WORTH = 0.6
"""Mean AUROC that the other order must reach: one that fits no better than chance is none."""
_LOSS = 0.05
"""Loss of AUROC that a class may show where the order that the others show is the right one: noise."""
_HINT = 2.0
"""Gain, in standard errors, from which a note is due."""
_FEW = 5
"""Patients of either side below which a class has no say in the order."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One class or label against the rest."""

    rows: Ints
    """(n,) positions of the cases whose answer is known."""
    labels: Ints
    """(n,) 0 or 1."""
    sides: tuple[int, int]
    """Patients with a positive, and with a negative."""


@dataclass(frozen=True, slots=True)
class Order:
    """Another order of the outputs."""

    order: tuple[int, ...]
    """The class that each output would stand for."""
    before: float
    """Mean AUROC of the classes that move, as named, and in the other order."""
    after: float
    sure: bool
    """Whether the gain is more than an original without skill, or with similar classes, shows by chance."""


def sides(labels: Ints, units: NDArray[Any]) -> tuple[int, int]:
    """Patients with a positive, and with a negative."""
    return np.unique(units[labels == 1]).size, np.unique(units[labels == 0]).size


def chance_error(positives: int, negatives: int) -> float:
    """Standard error of the AUROC of scores that know nothing (Mann and Whitney 1947)."""
    return sqrt((positives + negatives + 1) / (12 * positives * negatives))


def better_order(asked: Sequence[Asked], scores: Floats, units: NDArray[Any]) -> Order | None:
    """The best order of the K outputs of scores (N, K), where it gains much; None where that named is as good.

    Each cycle of the assignment is held by itself against what chance shows: a class that hardly occurs neither moves
    nor hides what the others show.
    """
    areas = _areas(asked, scores)
    best = np.asarray(linear_sum_assignment(-areas - 1e-6 * np.eye(len(asked)))[1], np.int64)
    weighed = [(cycle, _evidence(cycle, best, areas, asked, scores, units)) for cycle in cycles(best)]
    needed = float(ndtri(1 - ERROR / len(asked) ** 2))
    for least, sure in ((needed, True), (_HINT, False)):
        moved = [k for cycle, evidence in weighed if evidence > least for k in cycle]
        if moved:
            order = list(range(len(asked)))
            for k in moved:
                order[best[k]] = k
            known = [k for k in moved if _judged(asked[k])]
            return Order(tuple(order), _mean(areas, known, known), _mean(areas, known, best[known]), sure)
    return None


def cycles(permutation: Ints) -> list[list[int]]:
    """The cycles of more than one member."""
    found, seen = [], set[int]()
    for start in range(len(permutation)):
        cycle = []
        here = start
        while here not in seen:
            seen.add(here)
            cycle.append(here)
            here = int(permutation[here])
        found += [cycle] if len(cycle) > 1 else []
    return found


def _judged(asked: Asked) -> bool:
    return min(asked.sides) >= _FEW


def _areas(asked: Sequence[Asked], scores: Floats) -> Floats:
    """(K, K) AUROC of each class by each output; a half throughout for a class that has no say."""
    found = np.full((len(asked), len(asked)), 0.5)
    ranks = rankdata(scores, axis=0)
    for k, one in enumerate(asked):
        if not _judged(one):
            continue
        own = ranks if len(one.rows) == len(scores) else rankdata(scores[one.rows], axis=0)
        m = int(one.labels.sum())
        found[k] = (one.labels @ own - m * (m + 1) / 2) / (m * (len(one.rows) - m))
    return found


def _evidence(
    cycle: list[int], best: Ints, areas: Floats, asked: Sequence[Asked], scores: Floats, units: NDArray[Any]
) -> float:
    """The gain of a cycle in standard errors, added up as if all erred together; 0 where it is none worth naming."""
    known = [k for k in cycle if _judged(asked[k])]
    if len(known) < 2:
        return 0.0
    gains = areas[known, best[known]] - areas[known, known]
    if gains.mean() < MUCH or gains.min() < -_LOSS or _mean(areas, known, best[known]) < _WORTH:
        return 0.0
    return float(gains.sum() / sum(_error(asked[k], scores, k, int(best[k]), units) for k in known))


def _error(asked: Asked, scores: Floats, own: int, other: int, units: NDArray[Any]) -> float:
    """Of the difference of two AUROCs, never less than that of two scores that know nothing: rankings without an
    error have no variance."""
    rows = asked.rows
    pair = auroc_pair(asked.labels, scores[rows, own], scores[rows, other], units[rows])
    return max(sqrt(max(pair.variance, 0.0)), sqrt(2) * chance_error(*asked.sides))


def _mean(areas: Floats, rows: list[int], columns: list[int] | Ints) -> float:
    return float(areas[rows, columns].mean())
