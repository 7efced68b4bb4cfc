"""What cases that were drawn say of a loss that none of them shows: a bound for means of losses that have a limit."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from primum.validation.arrays import as_codes
from primum.validation.clustered import clustered_critical, effective_clusters
from primum.validation.intervals import MeanDifference
from primum.validation.verdict import Component


@dataclass(frozen=True, slots=True)
class UnseenLoss:
    """A mean gain of `patients`, of whom one may lose up to `worst`.

    The lower bound is a score test's. The hypothesis is the distribution seen, of which a share p is replaced by a loss
    of `worst`, so that its mean is -m; the variance is taken there, and the quantile is Student's t. For losses of 0 or
    1 that is Wilson's bound of a proportion (1927, JASA 22:209); without any loss it is `worst` t²/(n + t²), where t's
    own bound and Hall's shrink to nothing because a rare large loss was not drawn.
    """

    mean: float
    spread: float
    """Standard deviation of one independent case, of the cases as a population."""
    worst: float
    patients: int
    confidence: float
    effective_patients: float | None = None
    """What they are worth where some have several cases (`effective_clusters`)."""

    @classmethod
    def of(cls, found: MeanDifference, n: int, clusters: ArrayLike, worst: float) -> UnseenLoss:
        """From the mean gain of n cases of `clusters` (N,); `worst` is at least the largest loss seen."""
        codes, patients = as_codes(clusters, n)
        worth = effective_clusters(np.bincount(codes)) if patients < n else None
        error = 0.0 if np.isnan(found.standard_error) else found.standard_error
        spread = error * _cases_in(patients, worth)
        return cls(found.estimate, spread, worst, patients, found.confidence, worth)

    def lower(self, patients: int | None = None) -> float:
        """The bound, or what it would be with the same figures from so many `patients`."""
        n = float(self.patients if patients is None else patients)
        if self.effective_patients is not None:
            n *= self.effective_patients / self.patients
        t = clustered_critical(self.confidence, n)
        reach = self.worst + self.mean
        if reach <= 0:
            return self.mean
        middle = t * t * (reach - self.spread**2 / reach)
        return self.mean - (middle + sqrt(middle**2 + 4 * (n + t * t) * (t * self.spread) ** 2)) / (2 * (n + t * t))

    def figures(self) -> dict[str, float]:
        """What a component keeps of it, besides its standard error."""
        kept = {"worst_loss": self.worst, "unseen_lower": self.lower()}
        return kept if self.effective_patients is None else kept | {"effective_patients": self.effective_patients}

    @classmethod
    def of_part(cls, part: Component, confidence: float) -> UnseenLoss | None:
        """What `part` was judged by; None where it was by t alone."""
        if "worst_loss" not in part.beside:
            return None
        worth = part.beside.get("effective_patients")
        spread = part.beside["standard_error"] * _cases_in(part.n_patients, worth)
        return cls(part.difference, spread, part.beside["worst_loss"], part.n_patients, confidence, worth)


def _cases_in(patients: int, worth: float | None) -> float:
    """Standard deviation of one case over the standard error of the mean."""
    return sqrt(max((patients if worth is None else worth) - 1, 0.0))
