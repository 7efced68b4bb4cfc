"""Shares of cases by patient: Wilson's interval of one share, the score interval of the ratio of two paired ones."""

from __future__ import annotations

from dataclasses import replace
from math import inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from primum.validation.arrays import Bools, Floats, as_codes
from primum.validation.clustered import cluster_tables, clustered_critical, design_effect, effective_clusters
from primum.validation.intervals import Interval
from primum.validation.proportions import two_sided_z, wilson_interval, wilson_interval_at

Table = tuple[float, float, float, float]


def share_interval(hits: ArrayLike, units: ArrayLike, confidence: float = 0.95) -> Interval:
    """The share of cases that are hits (n,), by Wilson's interval; `units` (n,) are the patients.

    Where a patient has several cases the counts are divided by the design effect, which leaves no more than so many
    patients are worth (`effective_clusters`), and the quantile is Student's t. InputError without cases.
    """
    values = np.asarray(hits, dtype=np.bool_)
    codes, patients = as_codes(units, values.size)
    n, x = values.size, int(values.sum())
    if patients == n:
        return wilson_interval(x, n, confidence)
    sizes = np.bincount(codes, minlength=patients).astype(np.float64)
    held = np.bincount(codes, weights=values, minlength=patients).astype(np.float64)
    worth = effective_clusters(sizes)
    effect = max(_share_effect(held, sizes), n / worth)
    found = wilson_interval_at(x / effect, n / effect, clustered_critical(confidence, worth), confidence)
    return replace(found, estimate=x / n)


def paired_ratio(first: Bools, second: Bools, units: NDArray[Any], confidence: float = 0.95) -> Interval:
    """The ratio of two paired shares, first over second, from correctness (n,), by `ratio_interval`; counts and
    quantile by patient as in `share_interval`. InputError without cases."""
    codes, patients = as_codes(units, first.size)
    tables = cluster_tables(first, second, codes, patients)
    raw = tables.sum(axis=0)
    if patients == first.size:
        return ratio_interval_at(_table(raw), two_sided_z(confidence), confidence)
    worth = effective_clusters(tables.sum(axis=1))
    held = raw / max(design_effect(tables), first.size / worth)
    return ratio_interval_at(_table(held), clustered_critical(confidence, worth), confidence)


def ratio_interval(a: float, b: float, c: float, d: float, confidence: float = 0.95) -> Interval:
    """The ratio of paired proportions (a + b)/(a + c), by the constrained score (Nam and Blackwelder 2002, Stat Med
    21:689).

    Counts may be fractions. Bounds are never [1, 1], not even without a discordant pair. With a second proportion of 0
    the ratio is NaN and its bounds say nothing.
    """
    return ratio_interval_at((a, b, c, d), two_sided_z(confidence), confidence)


def ratio_interval_at(table: Table, z: float, confidence: float) -> Interval:
    """`ratio_interval` of a table at another critical value `z` than the normal quantile of `confidence`."""
    a, b, c, d = table
    if a + c == 0:
        return Interval(float("nan"), 0.0, inf, confidence)
    estimate = (a + b) / (a + c)
    lower = _ratio_root(a, b, c, d, z, estimate, downwards=True) if estimate > 0 else 0.0
    upper = _ratio_root(a, b, c, d, -z, estimate, downwards=False)
    return Interval(estimate, min(lower, estimate), max(upper, estimate), confidence)


def ratio_z(a: float, b: float, c: float, d: float, theta: float) -> float:
    """The score statistic of H0: p_first = theta p_second; decreasing in theta."""
    n = a + b + c + d
    p_first, p_second, p10, p01 = (a + b) / n, (a + c) / n, b / n, c / n
    root = sqrt((p_first - theta**2 * p_second) ** 2 + 4 * theta**2 * p10 * p01)
    q10 = (-p_first + theta**2 * (p_second + 2 * p10) + root) / (2 * theta * (theta + 1))
    q01 = theta * q10 - (theta - 1) * (1 - d / n)
    gap, variance = p_first - theta * p_second, theta * max(q10 + q01, 0.0) / n
    if variance <= 0:
        return 0.0 if gap == 0 else inf if gap > 0 else -inf
    return gap / sqrt(variance)


def _ratio_root(a: float, b: float, c: float, d: float, target: float, estimate: float, *, downwards: bool) -> float:
    """The theta on one side of the estimate at which the statistic equals `target`."""

    def excess(theta: float) -> float:
        return float(np.clip(ratio_z(a, b, c, d, theta), -1e9, 1e9)) - target

    near, far = max(estimate, 1e-12), max(estimate, 1e-6)
    for _ in range(60):
        far = far / 2 if downwards else far * 2
        if (excess(far) > 0) == downwards:
            return float(brentq(excess, min(near, far), max(near, far), xtol=1e-13, rtol=1e-13, maxiter=500))
    return 0.0 if downwards else inf


def _share_effect(held: Floats, sizes: Floats) -> float:
    """The cluster-robust variance of a share over the independent one, at least 1; without variance the mean size."""
    patients, n = len(sizes), float(sizes.sum())
    share = float(held.sum()) / n
    independent = n / max(n - 1, 1) * n * share * (1 - share)
    if independent <= 0 or patients < 2:
        return n / patients
    robust = patients / (patients - 1) * float(np.sum((held - sizes * share) ** 2))
    return max(1.0, robust / independent)


def _table(counts: Floats) -> Table:
    a, b, c, d = (float(count) for count in counts)
    return a, b, c, d
