"""Bounds of the difference of two AUROCs; the widest decide.

A plain DeLong lower bound passes too often near AUROC 1 (type I error above 0.1 for a nominal 0.025). The MOVER-logit
interval does so where the two models' scores are hardly correlated, the score interval where they are strongly so, and
both where a few patients with several cases are distorted: skewness is then taken out as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit

from primum.validation.arrays import Floats, Ints, as_codes
from primum.validation.auroc import AurocPair, auroc_pair
from primum.validation.clustered import effective_clusters
from primum.validation.intervals import Interval, MoverInterval
from primum.validation.means import hall_inverse, t_quantile
from primum.validation.proportions import two_sided_z, wilson_interval


def presumed(pair: AurocPair, independent: AurocPair, labels: Ints, units: ArrayLike) -> tuple[AurocPair, float]:
    """`pair` of patients, its difference as uncertain as so many patients leave it, and their worth in the rarer class.

    As for a rate (`effective_clusters`): from few patients who changed, no correlation within a patient can be
    estimated. `independent` is the pair as if no case had a patient in common with another.
    """
    codes, _ = as_codes(units, labels.size)
    sizes = [np.unique(codes[labels == value], return_counts=True)[1] for value in (0, 1)]
    worths = [effective_clusters(held) for held in sizes]
    effect = max(float(held.sum()) / worth for held, worth in zip(sizes, worths))
    variance = max(pair.variance, effect * independent.variance)
    covariance = (pair.variance_a + pair.variance_b - variance) / 2
    return replace(pair, variance=variance, covariance=covariance), min(worths)


def boundary_interval(pair: AurocPair, smaller: float, confidence: float) -> Interval:
    """The difference of two AUROCs of which one is exactly 1, where no variance can be estimated.

    Each AUROC is bounded as a proportion of the `smaller` class's patients (Wilson), and the two bounds are combined
    without their correlation: wider than any interval that knew it, and never of zero width.
    """
    new, reference = (wilson_interval(auc * smaller, smaller, confidence) for auc in (pair.auc_a, pair.auc_b))
    return Interval(pair.auc_a - pair.auc_b, new.lower - reference.upper, new.upper - reference.lower, confidence)


def auc_mover_logit_interval(
    y: ArrayLike,
    scores_new: ArrayLike,
    scores_ref: ArrayLike,
    confidence: float = 0.95,
    clusters: ArrayLike | None = None,
) -> MoverInterval:
    """AUROC(new) - AUROC(reference): two logit intervals joined by MOVER with DeLong's correlation.

    With `clusters` (N,) the variances and the correlation are Obuchowski's. Degenerate inputs give NaN bounds
    and the reason. InputError as `auroc_pair`.
    """
    return mover_from_pair(auroc_pair(y, scores_new, scores_ref, clusters), confidence)


def mover_from_pair(
    pair: AurocPair, confidence: float = 0.95, scale: float = 1.0, critical: float | None = None
) -> MoverInterval:
    """The MOVER-logit interval of `pair` as if it rested on `scale` times as many cases; at `critical` in place of the
    normal quantile of `confidence`."""
    z = two_sided_z(confidence) if critical is None else critical
    difference = pair.auc_a - pair.auc_b
    if pair.reason:
        none_a, none_b = (Interval(auc, nan, nan, confidence) for auc in (pair.auc_a, pair.auc_b))
        return MoverInterval(difference, nan, nan, confidence, none_a, none_b, nan, True, pair.reason)
    new = _logit_interval(pair.auc_a, pair.variance_a / scale, z, confidence)
    ref = _logit_interval(pair.auc_b, pair.variance_b / scale, z, confidence)
    r = pair.correlation
    below = _mover(new.estimate - new.lower, ref.upper - ref.estimate, r)
    above = _mover(new.upper - new.estimate, ref.estimate - ref.lower, r)
    return MoverInterval(difference, difference - below, difference + above, confidence, new, ref, r)


def score_interval(pair: AurocPair, smaller: float, confidence: float = 0.95, scale: float = 1.0) -> Interval:
    """AUROC(a) - AUROC(b) by a score test: the variance of a is taken where the hypothesis puts it.

    At the difference d that is A0 = AUROC(b) + d, with var_a A0 (1 - A0)/(A (1 - A)): near 1 a lucky AUROC has too
    small a variance of its own, and two hardly correlated ones then seem too near. DeLong's correlation is kept, and
    Student's t has `smaller` - 1 degrees of freedom, the patients of the smaller class. `scale` as `mover_from_pair`.
    The bounds are the outermost differences that the test does not reject; NaN where `pair` has a reason.
    """
    estimate = pair.auc_a - pair.auc_b
    if pair.reason:
        return Interval(estimate, nan, nan, confidence)
    critical = t_quantile(confidence, max(1.0, smaller * scale - 1)) / sqrt(scale)

    def excess(difference: Floats) -> Floats:
        at = pair.auc_b + difference
        share = np.maximum(at * (1 - at), 0.0) / (pair.auc_a * (1 - pair.auc_a))
        variance = pair.variance_a * share + pair.variance_b - 2 * pair.covariance * np.sqrt(share)
        return np.asarray(np.abs(estimate - difference) - critical * np.sqrt(np.maximum(variance, 0.0)))

    lower = _outermost(excess, -pair.auc_b, estimate)
    upper = _outermost(excess, 1 - pair.auc_b, estimate)
    return Interval(estimate, lower, upper, confidence)


def skewed_interval(pair: AurocPair, smaller: float, confidence: float = 0.95, scale: float = 1.0) -> Interval:
    """AUROC(a) - AUROC(b) by t, the skewness of what each unit adds taken out as Hall (1992) does (`means`).

    Where a few patients are distorted, they make both the difference and its variance: t alone then passes too often.
    `smaller` and `scale` as `score_interval`; NaN where `pair` has a reason.
    """
    estimate, units = pair.auc_a - pair.auc_b, pair.units * scale
    if pair.reason:
        return Interval(estimate, nan, nan, confidence)
    reach = t_quantile(confidence, max(1.0, smaller * scale - 1)) / sqrt(units)
    spread = sqrt(pair.variance * pair.units)
    below, above = (hall_inverse(side * reach, pair.skewness, units) * spread for side in (1, -1))
    return Interval(estimate, estimate - below, estimate - above, confidence)


def _outermost(excess: Callable[[Floats], Floats], far: float, near: float) -> float:
    """The root of `excess` that lies farthest from `near`, where it is below 0; `far` where it is so there too."""
    path = np.linspace(far, near, 1025)
    held = np.flatnonzero(excess(path) <= 0)
    first = int(held[0]) if held.size else path.size - 1
    if first == 0:
        return far
    low, high = sorted((float(path[first - 1]), float(path[first])))
    return float(brentq(lambda x: float(excess(np.array(x))), low, high, xtol=1e-14, rtol=1e-13))


def _logit_interval(auc: float, variance: float, z: float, confidence: float) -> Interval:
    half = z * sqrt(variance) / (auc * (1 - auc))
    centre = float(logit(auc))
    return Interval(auc, float(expit(centre - half)), float(expit(centre + half)), confidence)


def _mover(first: float, second: float, correlation: float) -> float:
    return sqrt(max(first * first - 2 * correlation * first * second + second * second, 0.0))
