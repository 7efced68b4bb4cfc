"""Correlated AUROCs: DeLong's covariance, Obuchowski's for clusters, and the MOVER-logit interval.

A plain DeLong lower bound passes too often near AUROC 1 (type I error above 0.1 for a nominal 0.025). The MOVER-logit
interval does so where the two models' scores are hardly correlated, the score interval where they are strongly so:
the wider bounds of both decide, and DeLong's stand beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import fsum, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit, ndtr

from primum.validation.arrays import Floats, Ints, as_codes, as_labels, as_scores, midranks
from primum.validation.intervals import AurocDifference, Interval, MoverInterval
from primum.validation.means import t_quantile
from primum.validation.proportions import two_sided_z, wilson_interval


@dataclass(frozen=True, slots=True)
class AurocPair:
    """Two AUROCs on the same cases with their covariance; `variance` is that of their difference."""

    auc_a: float
    auc_b: float
    variance_a: float
    variance_b: float
    covariance: float
    variance: float
    reason: str = ""
    """Why no interval can be built from these; empty where one can."""


def placements(labels: Ints, scores: Floats) -> tuple[Floats, Floats]:
    """Placement values (Sun and Xu 2014): for each positive the share of negatives below it, for each
    negative the share of positives above it, ties counting half. The mean of either is the AUROC."""
    positive = labels == 1
    m, n = int(positive.sum()), int((~positive).sum())
    ranks = midranks(scores)
    above = (ranks[positive] - midranks(scores[positive])) / n
    below = 1.0 - (ranks[~positive] - midranks(scores[~positive])) / m
    return above, below


def auroc_pair(y: ArrayLike, scores_a: ArrayLike, scores_b: ArrayLike, clusters: ArrayLike | None = None) -> AurocPair:
    """Both AUROCs and their covariance: DeLong's (1988), or with `clusters` (N,) Obuchowski's (1997).

    Placement values are summed by cluster; clusters of one case each reduce to DeLong's exactly.
    InputError on lengths that differ, labels other than 0 and 1, NaN scores.
    """
    labels = as_labels(y)
    a, b = (as_scores(s, labels.size) for s in (scores_a, scores_b))
    if labels.min() == labels.max():
        return AurocPair(nan, nan, nan, nan, nan, nan, "only one class is present")
    codes, groups = as_codes(np.arange(labels.size) if clusters is None else clusters, labels.size)
    (above_a, below_a), (above_b, below_b) = placements(labels, a), placements(labels, b)
    # fsum: the same cases in another order must give the same figure to the last digit.
    aucs = fsum(above_a) / above_a.size, fsum(above_b) / above_b.size
    above = np.stack([above_a, above_b, above_a - above_b], axis=1)
    below = np.stack([below_a, below_b, below_a - below_b], axis=1)
    cov = _clustered_covariance(labels, codes, groups, above, below)
    # The third column is the difference itself: exactly 0 variance for identical rankings, without rounding.
    variances = float(cov[0, 0]), float(cov[1, 1]), float(cov[0, 1]), float(cov[2, 2])
    return AurocPair(*aucs, *variances, _why_degenerate(aucs, cov))


def _clustered_covariance(labels: Ints, codes: Ints, groups: int, above: Floats, below: Floats) -> Floats:
    """Obuchowski's covariance of the columns' means, from placement values (m, K) and (n, K)."""
    positive = labels == 1
    m, n = len(above), len(below)
    by_positive = _sum_by(codes[positive], groups, above - above.mean(axis=0))
    by_negative = _sum_by(codes[~positive], groups, below - below.mean(axis=0))
    with_positive, with_negative = (np.unique(codes[mask]).size for mask in (positive, ~positive))
    if min(with_positive, with_negative) < 2:
        return np.full((above.shape[1], above.shape[1]), nan)
    within_positive = with_positive / (with_positive - 1) / m**2 * (by_positive.T @ by_positive)
    within_negative = with_negative / (with_negative - 1) / n**2 * (by_negative.T @ by_negative)
    cross = groups / (groups - 1) / (m * n) * (by_positive.T @ by_negative)
    return np.asarray(within_positive + within_negative + cross + cross.T, dtype=np.float64)


def _sum_by(codes: Ints, groups: int, values: Floats) -> Floats:
    return np.stack([np.bincount(codes, weights=v, minlength=groups) for v in values.T], axis=1)


def worst_ranked(labels: Ints, scores: Floats) -> Floats:
    """Probabilities (N,) with those that are not finite below all others for a positive, above for a negative."""
    return np.where(np.isfinite(scores), scores, np.where(labels == 1, -1.0, 2.0))


def boundary_interval(pair: AurocPair, smaller: float, confidence: float) -> Interval:
    """The difference of two AUROCs of which one is exactly 1, where no variance can be estimated.

    Each AUROC is bounded as a proportion of the `smaller` class's patients (Wilson), and the two bounds are combined
    without their correlation: wider than any interval that knew it, and never of zero width.
    """
    new, reference = (wilson_interval(auc * smaller, smaller, confidence) for auc in (pair.auc_a, pair.auc_b))
    return Interval(pair.auc_a - pair.auc_b, new.lower - reference.upper, new.upper - reference.lower, confidence)


def _why_degenerate(aucs: tuple[float, float], covariance: Floats) -> str:
    if np.isnan(covariance).any():
        return "a class with fewer than two patients has no variance"
    if any(auc in (0.0, 1.0) for auc in aucs):
        return "an AUROC of exactly 0 or 1 has no usable variance"
    scale = max(float(covariance[0, 0]), float(covariance[1, 1]))
    if min(float(covariance[0, 0]), float(covariance[1, 1])) <= 0 or covariance[2, 2] <= 1e-14 * scale:
        return "the variance of the AUROC difference is 0"
    return ""


def delong(
    y: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    confidence: float = 0.95,
    clusters: ArrayLike | None = None,
) -> AurocDifference:
    """DeLong's comparison of two correlated AUROCs (DeLong 1988; midranks after Sun and Xu 2014), a - b.

    Degenerate inputs (one class, an AUROC of exactly 0 or 1, no variance of the difference) are flagged;
    where the variance is 0 the bounds are NaN, never a zero-width interval. InputError as `auroc_pair`.
    """
    pair = auroc_pair(y, scores_a, scores_b, clusters)
    z = two_sided_z(confidence)
    difference = pair.auc_a - pair.auc_b
    matrix = ((pair.variance_a, pair.covariance), (pair.covariance, pair.variance_b))
    if pair.variance > 1e-14 * max(pair.variance_a, pair.variance_b):
        error = sqrt(pair.variance)
        lower, upper, statistic = difference - z * error, difference + z * error, difference / error
    else:
        error = 0.0 if pair.variance >= 0 else nan
        lower = upper = nan
        statistic = 0.0 if difference == 0 else nan
    p_value = 2 * float(ndtr(-abs(statistic)))
    return AurocDifference(
        pair.auc_a, pair.auc_b, difference, error, lower, upper, statistic, p_value, matrix, confidence,
        bool(pair.reason), pair.reason,
    )  # fmt: skip


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


def mover_from_pair(pair: AurocPair, confidence: float = 0.95, scale: float = 1.0) -> MoverInterval:
    """The MOVER-logit interval of `pair` as if it rested on `scale` times as many cases."""
    z = two_sided_z(confidence)
    difference = pair.auc_a - pair.auc_b
    if pair.reason:
        none_a, none_b = (Interval(auc, nan, nan, confidence) for auc in (pair.auc_a, pair.auc_b))
        return MoverInterval(difference, nan, nan, confidence, none_a, none_b, nan, True, pair.reason)
    new = _logit_interval(pair.auc_a, pair.variance_a / scale, z, confidence)
    ref = _logit_interval(pair.auc_b, pair.variance_b / scale, z, confidence)
    r = float(np.clip(pair.covariance / sqrt(pair.variance_a * pair.variance_b), -1.0, 1.0))
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


def _outermost(excess: Callable[[Floats], Floats], far: float, near: float) -> float:
    """The root of `excess` that lies farthest from `near`, where it is below 0; `far` where it is so there too."""
    path = np.linspace(far, near, 1025)
    held = np.flatnonzero(excess(path) <= 0)
    first = int(held[0]) if held.size else path.size - 1
    if first == 0:
        return far
    low, high = sorted((float(path[first - 1]), float(path[first])))
    return float(brentq(lambda x: float(excess(np.array(x))), low, high, xtol=1e-14, rtol=1e-13))


def auc_interval(
    y: ArrayLike, scores: ArrayLike, confidence: float = 0.95, clusters: ArrayLike | None = None
) -> Interval:
    """One AUROC with DeLong's normal interval, cut to [0, 1]; NaN bounds where no variance exists."""
    pair = auroc_pair(y, scores, scores, clusters)
    if not pair.variance_a > 0:
        return Interval(pair.auc_a, nan, nan, confidence)
    half = two_sided_z(confidence) * sqrt(pair.variance_a)
    return Interval(pair.auc_a, max(0.0, pair.auc_a - half), min(1.0, pair.auc_a + half), confidence)


def same_ranking(scores_a: Floats, scores_b: Floats) -> bool:
    """Whether both order every pair of cases alike, ties included."""
    return bool(np.array_equal(midranks(scores_a), midranks(scores_b)))


def same_placements(labels: Ints, scores_a: Floats, scores_b: Floats) -> bool:
    """Whether no case changed its place among the cases of the other class: the two ROC curves are then one."""
    ours, theirs = placements(labels, scores_a), placements(labels, scores_b)
    return all(np.array_equal(x, y) for x, y in zip(ours, theirs))


def _logit_interval(auc: float, variance: float, z: float, confidence: float) -> Interval:
    half = z * sqrt(variance) / (auc * (1 - auc))
    centre = float(logit(auc))
    return Interval(auc, float(expit(centre - half)), float(expit(centre + half)), confidence)


def _mover(first: float, second: float, correlation: float) -> float:
    return sqrt(max(first * first - 2 * correlation * first * second + second * second, 0.0))
