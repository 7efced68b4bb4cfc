"""The result types of the paired statistics. Differences are first - second; bounds are two-sided."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """A point estimate with a two-sided confidence interval."""

    estimate: float
    lower: float
    upper: float
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class SignificanceTest:
    """A test statistic and its p-value."""

    statistic: float
    p_value: float


@dataclass(frozen=True, slots=True)
class ClusteredTest:
    """Obuchowski's clustered McNemar test, with the naive and Durkalski's statistics beside it
    (chi-square, 1 df)."""

    statistic: float
    p_value: float
    naive_statistic: float
    durkalski_statistic: float
    durkalski_p_value: float
    n_clusters: int


@dataclass(frozen=True, slots=True)
class MeanDifference:
    """The mean of paired differences with a t interval."""

    estimate: float
    lower: float
    upper: float
    confidence: float
    standard_error: float
    degrees_of_freedom: int
    degenerate: bool = False
    """True: no variance to build an interval from; the bounds are NaN."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AurocDifference:
    """Two correlated AUROCs compared by DeLong's normal interval and test."""

    auc_a: float
    auc_b: float
    difference: float
    standard_error: float
    lower: float
    upper: float
    statistic: float
    p_value: float
    covariance: tuple[tuple[float, float], tuple[float, float]]
    confidence: float = 0.95
    degenerate: bool = False
    """True: the figures are no evidence (no variance, a perfect AUROC, one class); `reason` says which."""
    reason: str = ""

    @property
    def estimate(self) -> float:
        """The difference, under the name that every interval has."""
        return self.difference


@dataclass(frozen=True, slots=True)
class MoverInterval:
    """A MOVER interval of a difference, with the two single intervals and the correlation it is made of."""

    estimate: float
    lower: float
    upper: float
    confidence: float
    new: Interval
    reference: Interval
    correlation: float
    degenerate: bool = False
    """True: no interval could be built; the bounds are NaN."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Power:
    """The probability that a non-inferiority test passes, with what it was computed for."""

    power: float
    n: int
    loss: float
    gain: float
    margin: float
    alpha: float
