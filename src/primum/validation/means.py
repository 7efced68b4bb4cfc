"""Means of paired differences with a t interval, clustered or not: the Brier score's, Dice's, an error's."""

from __future__ import annotations

from dataclasses import replace
from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from primum.errors import InputError
from primum.validation.arrays import Floats, as_codes, as_labels, as_scores, check_confidence
from primum.validation.intervals import MeanDifference

_SYMMETRIC = 1e-6
"""A smaller skewness moves no bound, and would only cost digits."""


def paired_mean_interval(
    differences: ArrayLike, confidence: float = 0.95, clusters: ArrayLike | None = None
) -> MeanDifference:
    """The mean of `differences` (N,) with a t interval.

    With `clusters` (N,) the variance is the ratio estimator's, G/(G-1) sum((S_g - n_g mean)²)/N², and t has G
    - 1 degrees of freedom; clusters of one case each give the ordinary interval exactly. Degenerate, with NaN
    bounds, where there is one unit or no variance. InputError on empty or non-finite differences.
    """
    values, residuals = _residuals(differences, confidence, clusters)
    mean, units = float(values.mean()), residuals.size
    if units < 2:
        return MeanDifference(mean, nan, nan, confidence, nan, 0, True, "one patient has no variance")
    error = sqrt(units / (units - 1) * float(np.sum(residuals**2))) / values.size
    if error <= 1e-14 * float(np.abs(values).max()):
        return MeanDifference(mean, nan, nan, confidence, 0.0, units - 1, True, "the differences do not vary")
    half = t_quantile(confidence, units - 1) * error
    return MeanDifference(mean, mean - half, mean + half, confidence, error, units - 1)


def skewed_mean_interval(
    differences: ArrayLike, confidence: float = 0.95, clusters: ArrayLike | None = None
) -> MeanDifference:
    """`paired_mean_interval`, its bounds moved out where the differences are skewed: the wider of t and Hall's.

    A few large losses on one side make t pass too often. Hall's (1992, J R Stat Soc B 54:221) transformation of t,
    T + gT²/3 + g²T³/27 + g/(6G) of T = t/sqrt(G), takes the skewness g of the G units out and is inverted exactly.
    Degenerate and InputError as there.
    """
    plain = paired_mean_interval(differences, confidence, clusters)
    if plain.degenerate:
        return plain
    _, residuals = _residuals(differences, confidence, clusters)
    units = residuals.size
    skewness = float(np.mean(residuals**3) / np.mean(residuals**2) ** 1.5)
    reach = t_quantile(confidence, units - 1) / sqrt(units)
    spread = plain.standard_error * sqrt(units)
    below, above = (hall_inverse(side * reach, skewness, units) * spread for side in (1, -1))
    lower, upper = min(plain.lower, plain.estimate - below), max(plain.upper, plain.estimate - above)
    return replace(plain, lower=lower, upper=upper)


def brier_difference(
    y: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    confidence: float = 0.95,
    clusters: ArrayLike | None = None,
) -> MeanDifference:
    """Brier(a) - Brier(b) on the same cases (N,), by `paired_mean_interval` of the squared errors'
    differences."""
    labels = as_labels(y)
    n = labels.size
    return paired_mean_interval(
        _squared_errors(labels, as_scores(scores_a, n)) - _squared_errors(labels, as_scores(scores_b, n)),
        confidence,
        clusters,
    )


def t_quantile(confidence: float, degrees_of_freedom: float) -> float:
    """Student's t quantile of a two-sided interval."""
    return float(stdtrit(degrees_of_freedom, 0.5 + confidence / 2))


def _residuals(differences: ArrayLike, confidence: float, clusters: ArrayLike | None) -> tuple[Floats, Floats]:
    """The checked differences (N,) and the sums of their deviations from the mean by unit (G,)."""
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not values.size:
        raise InputError(f"paired differences must be a non-empty vector, got shape {values.shape}")
    values = as_scores(values, values.size, "paired differences")
    check_confidence(confidence)
    codes, units = as_codes(np.arange(values.size) if clusters is None else clusters, values.size)
    sums = np.bincount(codes, weights=values - values.mean(), minlength=units)
    return values, np.asarray(sums, dtype=np.float64)


def hall_inverse(reach: float, skewness: float, units: float) -> float:
    """The T whose transform by Hall is `reach`, of means of so many units; t's own where they are not skewed."""
    if abs(skewness) < _SYMMETRIC:
        return reach
    return 3 / skewness * float(np.cbrt(1 + skewness * (reach - skewness / (6 * units))) - 1)


def _squared_errors(labels: np.ndarray, scores: Floats) -> Floats:
    return np.asarray((scores - labels) ** 2, dtype=np.float64)
