"""Several classes at once: the multi-class Brier score, and shifts of the classes that two models name."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc

from primum.errors import InputError
from primum.validation.arrays import Floats, Ints, as_codes


@dataclass(frozen=True, slots=True)
class MarginalTest:
    """A chi-square test of marginal homogeneity: whether two models name each class equally often."""

    statistic: float
    degrees_of_freedom: int
    p_value: float


def quadratic_losses(labels: Ints, probabilities: Floats) -> Floats:
    """(N,) half the sum over the K classes of (p - truth)², which lies in [0, 1] (Brier 1950, Mon Weather Rev 78:1,
    halved).

    1, the largest, where a probability is not finite. `labels` (N,) class indices, `probabilities` (N, K).
    """
    truth = np.eye(probabilities.shape[1])[labels]
    return worst_if_broken(((probabilities - truth) ** 2).sum(axis=1) / 2)


def worst_if_broken(losses: Floats) -> Floats:
    """Losses with 1 where they are not finite."""
    return np.where(np.isfinite(losses), losses, 1.0)


def stuart_maxwell(table: ArrayLike) -> MarginalTest:
    """The Stuart-Maxwell test of a (K, K) table of counts (Stuart 1955, Biometrika 42:412; Maxwell 1970).

    Classes without a discordant pair add no degree of freedom; with no discordant pair at all p is 1.
    InputError unless the table is square with counts >= 0 and some pair.
    """
    return _marginal_test(*_moments(_square(table)))


def bhapkar(table: ArrayLike) -> MarginalTest:
    """Bhapkar's test of a (K, K) table of counts (Bhapkar 1966, JASA 61:228); Stuart-Maxwell's T as T/(1 - T/n).

    Infinite where every pair shifts alike. InputError as `stuart_maxwell`.
    """
    counts = _square(table)
    return _bhapkar(_marginal_test(*_moments(counts)), float(counts.sum()))


def marginal_shift(
    first: Ints, second: Ints, classes: int, clusters: ArrayLike | None = None
) -> tuple[MarginalTest, MarginalTest]:
    """Stuart-Maxwell and Bhapkar of two vectors of class indices (N,).

    With `clusters` (N,) the shifts are summed by patient, whose outer products make the variance; patients of one case
    each give the tests of the table exactly.
    """
    codes, units = as_codes(np.arange(first.size) if clusters is None else clusters, first.size)
    shifts = np.zeros((units, classes))
    np.add.at(shifts, (codes, first), 1.0)
    np.add.at(shifts, (codes, second), -1.0)
    test = _marginal_test(shifts.sum(axis=0), shifts.T @ shifts)
    return test, _bhapkar(test, float(units))


def _moments(counts: Floats) -> tuple[Floats, Floats]:
    """The difference of the margins and its variance under homogeneity, of all K classes."""
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    return rows - columns, np.asarray(np.diag(rows + columns) - counts - counts.T)


def _marginal_test(shift: Floats, variance: Floats) -> MarginalTest:
    # The K differences add up to 0: the generalised inverse drops that direction and every class without discordance.
    freedom = int(np.linalg.matrix_rank(variance, hermitian=True))
    if not freedom:
        return MarginalTest(0.0, 0, 1.0)
    statistic = float(shift @ np.linalg.pinv(variance, hermitian=True) @ shift)
    return MarginalTest(statistic, freedom, float(chdtrc(freedom, statistic)))


def _bhapkar(test: MarginalTest, n: float) -> MarginalTest:
    left = 1 - test.statistic / n
    statistic = test.statistic / left if left > 1e-12 else inf
    p_value = float(chdtrc(test.degrees_of_freedom, statistic)) if test.degrees_of_freedom else 1.0
    return MarginalTest(statistic, test.degrees_of_freedom, p_value)


def _square(table: ArrayLike) -> Floats:
    counts = np.asarray(table, dtype=np.float64)
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1]
    if not square or not np.isfinite(counts).all() or (counts < 0).any() or not counts.sum() > 0:
        raise InputError(f"marginal homogeneity needs a square table of counts, got shape {counts.shape}")
    return counts
