"""Correlated AUROCs: DeLong's covariance, and Obuchowski's for clusters."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from primum.validation.arrays import Floats, Ints, as_codes, as_labels, as_scores, midranks
from primum.validation.intervals import AurocDifference, Interval
from primum.validation.proportions import two_sided_z


@dataclass(frozen=True, slots=True)
class AurocPair:
    """Two AUROCs on the same cases with their covariance; `variance` is that of their difference."""

    auc_a: float
    auc_b: float
    variance_a: float
    variance_b: float
    covariance: float
    variance: float
    skewness: float = 0.0
    """Of what each unit (patient, or case) adds to the difference."""
    units: int = 0
    reason: str = ""
    """Why no interval can be built from these; empty where one can."""

    @property
    def correlation(self) -> float:
        """Of the two AUROCs; NaN where one has no variance."""
        both = self.variance_a * self.variance_b
        return float(np.clip(self.covariance / sqrt(both), -1.0, 1.0)) if both > 0 else nan


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
        return AurocPair(nan, nan, nan, nan, nan, nan, reason="only one class is present")
    codes, groups = as_codes(np.arange(labels.size) if clusters is None else clusters, labels.size)
    (above_a, below_a), (above_b, below_b) = placements(labels, a), placements(labels, b)
    # fsum: the same cases in another order must give the same figure to the last digit.
    aucs = fsum(above_a) / above_a.size, fsum(above_b) / above_b.size
    above = np.stack([above_a, above_b, above_a - above_b], axis=1)
    below = np.stack([below_a, below_b, below_a - below_b], axis=1)
    by_positive, by_negative = _by_unit(labels, codes, groups, above, below)
    cov = _clustered_covariance(labels, codes, by_positive, by_negative)
    # The third column is the difference itself: exactly 0 variance for identical rankings, without rounding.
    variances = float(cov[0, 0]), float(cov[1, 1]), float(cov[0, 1]), float(cov[2, 2])
    added = by_positive[:, 2] / len(above) + by_negative[:, 2] / len(below)
    return AurocPair(*aucs, *variances, _skewness(added), groups, _why_degenerate(aucs, cov))


def _by_unit(labels: Ints, codes: Ints, groups: int, above: Floats, below: Floats) -> tuple[Floats, Floats]:
    """(G, K) sums of the deviations of placement values (m, K) and (n, K) from their means."""
    positive = labels == 1
    return (
        _sum_by(codes[positive], groups, above - above.mean(axis=0)),
        _sum_by(codes[~positive], groups, below - below.mean(axis=0)),
    )


def _skewness(values: Floats) -> float:
    spread = float(np.mean(values**2))
    return float(np.mean(values**3)) / spread**1.5 if spread > 0 else 0.0


def _clustered_covariance(labels: Ints, codes: Ints, by_positive: Floats, by_negative: Floats) -> Floats:
    """Obuchowski's covariance of the columns' means, from the sums of `_by_unit`."""
    positive, groups = labels == 1, len(by_positive)
    m, n = int(positive.sum()), int((~positive).sum())
    with_positive, with_negative = (np.unique(codes[mask]).size for mask in (positive, ~positive))
    if min(with_positive, with_negative) < 2:
        return np.full((by_positive.shape[1],) * 2, nan)
    within_positive = with_positive / (with_positive - 1) / m**2 * (by_positive.T @ by_positive)
    within_negative = with_negative / (with_negative - 1) / n**2 * (by_negative.T @ by_negative)
    cross = groups / (groups - 1) / (m * n) * (by_positive.T @ by_negative)
    return np.asarray(within_positive + within_negative + cross + cross.T, dtype=np.float64)


def _sum_by(codes: Ints, groups: int, values: Floats) -> Floats:
    return np.stack([np.bincount(codes, weights=v, minlength=groups) for v in values.T], axis=1)


def worst_ranked(labels: Ints, scores: Floats) -> Floats:
    """Probabilities (N,) with those that are not finite below all others for a positive, above for a negative."""
    return np.where(np.isfinite(scores), scores, np.where(labels == 1, -1.0, 2.0))


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
