"""Several cases a patient: the clustered McNemar test, the design effect, and what so many patients are worth.

Tables are one row a cluster, (G, 4): a both correct, b first only, c second only, d neither.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc

from primum.errors import InputError
from primum.validation.arrays import Bools, Floats, Ints
from primum.validation.intervals import ClusteredTest
from primum.validation.means import t_quantile

PRESUMED_CORRELATION = 0.7
"""Within a patient, at least: where no patient happens to lose many cases together, nothing shows that some would. By
simulation the smallest tenth that keeps the type I error of a rate below 0.03 up to a correlation of 1."""


def cluster_tables(first: Bools, second: Bools, codes: Ints, n_clusters: int) -> Floats:
    """The (G, 4) tables of two boolean correctness vectors (N,) whose cases belong to `codes` 0..G-1."""
    cells = (first & second, first & ~second, ~first & second, ~first & ~second)
    columns = [np.bincount(codes, weights=cell, minlength=n_clusters) for cell in cells]
    return np.stack(columns, axis=1).astype(np.float64)


def clustered_mcnemar(tables_by_cluster: ArrayLike) -> ClusteredTest:
    """Obuchowski's test of equal proportions on clustered pairs (Obuchowski 1998, Stat Med 17:1495).

    `tables_by_cluster` is (G, 4). Durkalski's (2003) statistic and the naive McNemar one stand beside.
    With no discordant pair every statistic is 0 and p is 1. InputError unless G >= 2 clusters hold cases.
    """
    tables = _check_tables(tables_by_cluster)
    groups = len(tables)
    if groups < 2:
        raise InputError("the clustered test needs at least two clusters with cases")
    net = tables[:, 1] - tables[:, 2]
    shares = net / tables.sum(axis=1)
    statistic = _ratio(net.sum() ** 2, groups / (groups - 1) * np.sum(net**2))
    durkalski = _ratio(shares.sum() ** 2, np.sum(shares**2))
    naive = _ratio(net.sum() ** 2, tables[:, 1:3].sum())
    return ClusteredTest(statistic, float(chdtrc(1, statistic)), naive, durkalski, float(chdtrc(1, durkalski)), groups)


def design_effect(tables_by_cluster: ArrayLike) -> float:
    """The cluster-robust variance of the paired difference over the independent one, at least 1.

    Both carry their small-sample factor, so that clusters of one case give exactly 1. The robust variance is
    the ratio estimator's, G/(G-1) sum((net_g - n_g D)²)/N². Where no variance exists (no discordant pair, one
    cluster) it is the mean cluster size: a patient then counts as one case.
    """
    tables = _check_tables(tables_by_cluster)
    groups, sizes = len(tables), tables.sum(axis=1)
    total = float(sizes.sum())
    if groups < 2:
        return total
    net = tables[:, 1] - tables[:, 2]
    mean = float(net.sum()) / total
    robust = groups / (groups - 1) * float(np.sum((net - sizes * mean) ** 2))
    independent = total / (total - 1) * (float(tables[:, 1:3].sum()) - total * mean * mean)
    return max(1.0, robust / independent) if independent > 1e-12 * total else total / groups


def effective_clusters(sizes: ArrayLike) -> float:
    """How many independent cases clusters of `sizes` (G,) are worth at most: N / max(N/G, 1 + r (m - 1)).

    r is `PRESUMED_CORRELATION` and m the mean size that a case sees, sum(n_g²)/N (Kish 1965), so that a cluster counts
    as one case where all are of one size, and less where a few hold many.
    """
    held = np.asarray(sizes, dtype=np.float64)
    total = float(held.sum())
    seen = float(np.sum(held**2)) / total
    return total / max(total / held.size, 1 + PRESUMED_CORRELATION * (seen - 1))


def clustered_critical(confidence: float, clusters: float) -> float:
    """Student's t of `clusters` - 1 degrees of freedom, for so many estimate the design effect; of one, who has no
    variance, that of one degree."""
    return t_quantile(confidence, max(1.0, clusters - 1))


def discordant_clusters(tables_by_cluster: ArrayLike) -> int:
    """How many clusters hold at least one discordant pair."""
    tables = _check_tables(tables_by_cluster)
    return int(np.count_nonzero(tables[:, 1] + tables[:, 2]))


def collapse_to_patients(tables_by_cluster: ArrayLike) -> tuple[float, float, float, float]:
    """One pair a patient, read against the first: any case lost makes the patient a loss (second only).

    Otherwise any case gained makes a gain (first only); otherwise both are correct if they are on every case
    of the patient, and neither is if they share an error. Returns (a, b, c, d) counting patients.
    """
    tables = _check_tables(tables_by_cluster)
    lost = tables[:, 2] > 0
    gained = ~lost & (tables[:, 1] > 0)
    concordant = ~lost & ~gained
    neither = concordant & (tables[:, 3] > 0)
    both = concordant & ~neither
    return float(both.sum()), float(gained.sum()), float(lost.sum()), float(neither.sum())


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > 0 else 0.0


def _check_tables(tables_by_cluster: ArrayLike) -> Floats:
    tables = np.asarray(tables_by_cluster, dtype=np.float64)
    if tables.ndim != 2 or tables.shape[1] != 4:
        raise InputError(f"clustered tables must have shape (clusters, 4), got {tables.shape}")
    if not np.isfinite(tables).all() or (tables < 0).any():
        raise InputError("clustered tables need counts >= 0")
    # A cluster without cases of this class says nothing and must not count as a cluster.
    held: Floats = tables[tables.sum(axis=1) > 0]
    if not len(held):
        raise InputError("clustered tables hold no case")
    return held
