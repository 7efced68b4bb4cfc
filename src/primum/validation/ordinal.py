"""Ordered grades: the ranked probability score, and quadratic-weighted kappa with its paired difference."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from primum.validation.arrays import Floats, Ints, as_codes
from primum.validation.decisions import NO_DECISION
from primum.validation.means import t_quantile
from primum.validation.multiclass import worst_if_broken
from primum.validation.proportions import two_sided_z


@dataclass(frozen=True, slots=True)
class KappaDifference:
    """Quadratic-weighted kappa with the labels, candidate - reference, with a widened jackknife t interval."""

    reference: float
    candidate: float
    estimate: float
    lower: float
    upper: float
    standard_error: float
    degrees_of_freedom: int
    degenerate: bool = False
    """True: no variance to build an interval from; the bounds are NaN."""
    reason: str = ""


def ranked_probability_losses(labels: Ints, probabilities: Floats) -> Floats:
    """(N,) the ranked probability score over K - 1 (Epstein 1969, J Appl Meteorol 8:985), which lies in [0, 1].

    1, the largest, where a probability is not finite. `labels` (N,) grades from 0, `probabilities` (N, K).
    """
    grades = probabilities.shape[1]
    reached = np.cumsum(probabilities, axis=1)[:, :-1]
    truth = labels[:, None] <= np.arange(grades - 1)
    return worst_if_broken(((reached - truth) ** 2).sum(axis=1) / (grades - 1))


def farthest_if_none(decisions: Ints, labels: Ints, grades: int) -> Ints:
    """Decisions (N,) with the grade farthest from the label where there is none."""
    farthest = np.where(labels * 2 >= grades - 1, 0, grades - 1)
    return np.where(decisions == NO_DECISION, farthest, decisions).astype(np.int64)


def kappa_difference(
    labels: Ints,
    reference: Ints,
    candidate: Ints,
    grades: int,
    confidence: float = 0.95,
    clusters: ArrayLike | None = None,
) -> KappaDifference:
    """The difference of two quadratic-weighted kappas with the labels (Cohen 1968), all grades (N,) from 0.

    Standard error by deleting one patient at a time (`clusters` (N,)), t with G - 1 degrees of freedom. Few decisions
    change, so that t alone passes too often (0.06 for a nominal 0.025 with 12 changes in 200 patients); the interval is
    widened as a score interval of a rare rate is, by the step s of the patient who matters most:
    d -/+ (h + sqrt((t SE)² + h²)) with h = z² s/2, which vanishes as patients grow many. Degenerate where a kappa is
    undefined (one grade only), where there is one patient, or no variance.
    """
    codes, units = as_codes(np.arange(labels.size) if clusters is None else clusters, labels.size)
    parts = [_Sums.of(labels, decisions, codes, units, grades) for decisions in (reference, candidate)]
    before, after = (float(part.kappa(part.total)) for part in parts)
    estimate = after - before
    figures = before, after, estimate
    if units < 2:
        return KappaDifference(*figures, nan, nan, nan, 0, True, "one patient has no variance")
    without = np.subtract(*(part.kappa(part.total - part.by_patient) for part in reversed(parts)))
    if not np.isfinite([estimate, *without]).all():
        reason = "kappa is not defined where all grades are one, or would be without one patient"
        return KappaDifference(*figures, nan, nan, nan, 0, True, reason)
    steps = without - without.mean()
    error = sqrt((units - 1) / units * float(np.sum(steps**2)))
    if error <= 1e-14:
        return KappaDifference(*figures, nan, nan, 0.0, units - 1, True, "the difference does not vary")
    half = t_quantile(confidence, units - 1) * error
    extra = two_sided_z(confidence) ** 2 * float(np.abs(steps).max()) / 2
    half = extra + sqrt(half**2 + extra**2)
    return KappaDifference(*figures, estimate - half, estimate + half, error, units - 1)


@dataclass(frozen=True, eq=False)
class _Sums:
    """What kappa is made of, by patient (G, 2K + 2): disagreement, cases, label counts, decision counts."""

    by_patient: Floats
    grades: int

    @classmethod
    def of(cls, labels: Ints, decisions: Ints, codes: Ints, units: int, grades: int) -> _Sums:
        sums = np.zeros((units, 2 * grades + 2))
        sums[:, 0] = np.bincount(codes, ((labels - decisions) / (grades - 1)) ** 2, minlength=units)
        sums[:, 1] = np.bincount(codes, minlength=units)
        np.add.at(sums, (codes, 2 + labels), 1.0)
        np.add.at(sums, (codes, 2 + grades + decisions), 1.0)
        return cls(sums, grades)

    @property
    def total(self) -> Floats:
        return np.asarray(self.by_patient.sum(axis=0))

    def kappa(self, sums: Floats) -> NDArray[np.float64]:
        """1 - observed over expected disagreement, of sums (..., 2K + 2); NaN where none is expected."""
        k = self.grades
        weights = (np.subtract.outer(np.arange(k), np.arange(k)) / (k - 1)) ** 2
        rows, columns = sums[..., 2 : 2 + k], sums[..., 2 + k :]
        expected = ((rows @ weights) * columns).sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(expected > 0, 1 - sums[..., 0] * sums[..., 1] / expected, np.nan))
