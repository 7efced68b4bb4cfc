"""Single and paired proportions: Wilson, Clopper-Pearson, Tango, Newcombe 10, McNemar mid-p.

A paired table is (a both correct, b first only, c second only, d neither); differences are first - second,
(b - c)/n. Counts may be fractions, because a clustered table is divided by its design effect.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import bdtr, betaincinv, ndtr, ndtri

from primum.errors import InputError
from primum.validation.arrays import check_confidence, check_margin
from primum.validation.intervals import Interval, SignificanceTest


def two_sided_z(confidence: float) -> float:
    """The normal quantile of a two-sided interval: 1.96 for 0.95."""
    return float(ndtri(0.5 + check_confidence(confidence) / 2))


def wilson_interval(x: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of x successes in n (Wilson 1927). InputError unless 0 <= x <= n and n > 0."""
    return wilson_interval_at(x, n, two_sided_z(confidence), confidence)


def wilson_interval_at(x: float, n: float, z: float, confidence: float) -> Interval:
    """Wilson's interval at another critical value `z` than the normal quantile of `confidence`. InputError as there."""
    _check_successes(x, n)
    p = x / n
    centre = (x + z * z / 2) / (n + z * z)
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At x = 0 and x = n the bound is exact; rounding must not move it off 0 or 1.
    lower = 0.0 if x == 0 else max(0.0, centre - half)
    upper = 1.0 if x == n else min(1.0, centre + half)
    return Interval(p, lower, upper, confidence)


def clopper_pearson_interval(x: float, n: float, confidence: float = 0.95) -> Interval:
    """The exact binomial interval (Clopper and Pearson 1934). InputError unless 0 <= x <= n and n > 0."""
    _check_successes(x, n)
    tail = (1 - check_confidence(confidence)) / 2
    lower = 0.0 if x == 0 else float(betaincinv(x, n - x + 1, tail))
    upper = 1.0 if x == n else float(betaincinv(x + 1, n - x, 1 - tail))
    return Interval(x / n, lower, upper, confidence)


def tango_z(b: Any, c: Any, n: float, delta: float) -> Any:
    """Tango's score statistic for H0: p_first - p_second = delta, elementwise over b and c.

    q is the restricted maximum-likelihood estimate of P(second only) under H0 (Tango 1998, eq. 5).
    Where H0 leaves no variance at all the statistic is 0 or infinite, as the numerator says.
    """
    big = 2.0 * n
    middle = -b - c + (big - b + c) * delta
    constant = -c * delta * (1 - delta)
    root = np.sqrt(np.maximum(middle * middle - 4 * big * constant, 0.0))
    # Two forms of one root: each is free of cancellation on its side.
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.where(middle <= 0, (root - middle) / (2 * big), -2 * constant / (root + middle))
        variance = np.maximum(n * (2 * q + delta * (1 - delta)), 0.0)
        numerator = b - c - n * delta
        z = numerator / np.sqrt(variance)
    return np.where(numerator == 0, 0.0, z)


def tango_interval(a: float, b: float, c: float, d: float, confidence: float = 0.95) -> Interval:
    """Tango's score interval for a paired difference of proportions (Tango 1998, Stat Med 17:891).

    With no discordant pair its bounds are -/+ z²/(n + z²), never [0, 0].
    InputError if a count is negative or not finite, or if all are 0.
    """
    return tango_interval_at(a, b, c, d, two_sided_z(confidence), confidence)


def tango_interval_at(a: float, b: float, c: float, d: float, z: float, confidence: float) -> Interval:
    """Tango's interval at another critical value `z` than the normal quantile of `confidence`. InputError as there."""
    n = _check_table(a, b, c, d)
    estimate = (b - c) / n
    lower = _score_root(b, c, n, z, -1.0, estimate)
    upper = _score_root(b, c, n, -z, estimate, 1.0)
    return Interval(estimate, min(lower, estimate), max(upper, estimate), confidence)


def tango_noninferiority(a: float, b: float, c: float, d: float, margin: float) -> SignificanceTest:
    """Tango's score test of H0: p_first - p_second <= -margin, with the one-sided p-value.

    It rejects at alpha exactly where the 1 - 2 alpha interval's lower bound exceeds -margin.
    InputError as `tango_interval`, and if the margin is not within (0, 1).
    """
    n = _check_table(a, b, c, d)
    z = float(tango_z(b, c, n, -check_margin(margin)))
    return SignificanceTest(z, float(ndtr(-z)))


def newcombe_paired_interval(a: float, b: float, c: float, d: float, confidence: float = 0.95) -> Interval:
    """Newcombe's method 10 (Newcombe 1998, Stat Med 17:2635): two Wilson intervals and a corrected phi.

    InputError as `tango_interval`.
    """
    n = _check_table(a, b, c, d)
    first, second = wilson_interval(a + b, n, confidence), wilson_interval(a + c, n, confidence)
    phi = _corrected_phi(a, b, c, d)
    difference = (b - c) / n
    below = _mover_half(first.estimate - first.lower, second.upper - second.estimate, phi)
    above = _mover_half(first.upper - first.estimate, second.estimate - second.lower, phi)
    return Interval(difference, max(-1.0, difference - below), min(1.0, difference + above), confidence)


def mcnemar_midp(b: float, c: float) -> SignificanceTest:
    """McNemar's mid-p test (Fagerland 2013), two-sided; the statistic is min(b, c).

    It asks whether the two differ: never whether one is non-inferior. InputError unless b and c are whole and
    >= 0.
    """
    if not (b >= 0 and c >= 0 and float(b).is_integer() and float(c).is_integer()):
        raise InputError(f"McNemar's test needs whole counts, got b={b} and c={c}")
    total, smaller = int(b + c), int(min(b, c))
    if total == 0:
        return SignificanceTest(0.0, 1.0)
    at_most = float(bdtr(smaller, total, 0.5))
    below = float(bdtr(smaller - 1, total, 0.5)) if smaller else 0.0
    return SignificanceTest(float(smaller), min(1.0, at_most + below))


def _score_root(b: float, c: float, n: float, target: float, low: float, high: float) -> float:
    """The delta in [low, high] at which Tango's decreasing statistic equals `target`."""

    def excess(delta: float) -> float:
        return float(np.clip(tango_z(b, c, n, delta), -1e9, 1e9)) - target

    # At delta = -1 and 1 the variance under H0 is 0.
    low, high = max(low, -1 + 1e-12), min(high, 1 - 1e-12)
    if excess(low) <= 0:
        return -1.0 if low < -0.5 else low
    if excess(high) >= 0:
        return 1.0 if high > 0.5 else high
    return float(brentq(excess, low, high, xtol=1e-13, rtol=1e-13, maxiter=500))


def _mover_half(first: float, second: float, correlation: float) -> float:
    """The distance that two single distances make, by the method of variance estimates recovery."""
    return sqrt(max(first * first - 2 * correlation * first * second + second * second, 0.0))


def _corrected_phi(a: float, b: float, c: float, d: float) -> float:
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if margins == 0:
        return 0.0
    cross = a * d - b * c
    if cross > 0:
        cross = max(cross - (a + b + c + d) / 2, 0.0)
    return float(cross / sqrt(margins))


def _check_table(a: float, b: float, c: float, d: float) -> float:
    counts = (a, b, c, d)
    if not all(np.isfinite(x) and x >= 0 for x in counts):
        raise InputError(f"a paired table needs four counts >= 0, got {counts}")
    total = float(sum(counts))
    if total == 0:
        raise InputError("a paired table needs at least one pair, got none")
    return total


def _check_successes(x: float, n: float) -> None:
    if not (np.isfinite(x) and np.isfinite(n) and n > 0 and 0 <= x <= n):
        raise InputError(f"need 0 <= x <= n and n > 0, got x={x} and n={n}")
