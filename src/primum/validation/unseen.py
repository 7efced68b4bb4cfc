"""What cases that were drawn say of a loss that none of them shows: a bound for means of losses that have a limit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from primum.validation.arrays import Ints, as_codes
from primum.validation.auroc import AurocPair
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

    @classmethod
    def of_ranking(cls, pair: AurocPair, labels: Ints, units: ArrayLike, confidence: float) -> UnseenLoss:
        """From the AUROCs of a candidate and its reference, cases (N,) of patients `units`.

        The AUROC is a mean over either class, of each case's place among the other class; of the two bounds it is the
        lower one, that of the class that fewer patients have. A patient may lose all that the reference has; and where
        those patients also have cases of the other class, so much more as these are a share of it.
        """
        codes, groups = as_codes(units, labels.size)
        held = [np.bincount(codes[labels == value], minlength=groups) for value in (0, 1)]
        error = 0.0 if np.isnan(pair.variance) else sqrt(max(pair.variance, 0.0))
        found = []
        for own, other in (held, held[::-1]):
            patients, worth = int((own > 0).sum()), effective_clusters(own[own > 0])
            worst = pair.auc_b * (1 + float(other[own > 0].sum() / other.sum()))
            kept = worth if worth < patients else None
            spread = error * _cases_in(patients, kept)
            found.append(cls(pair.auc_a - pair.auc_b, spread, worst, patients, confidence, kept))
        return min(found, key=lambda bound: bound.lower())

    def lower(self, patients: float | None = None) -> float:
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
        kept = {"worst_loss": self.worst, "unseen_lower": self.lower(), "unseen_patients": float(self.patients)}
        return kept if self.effective_patients is None else kept | {"effective_patients": self.effective_patients}

    @classmethod
    def of_part(cls, part: Component, confidence: float) -> UnseenLoss | None:
        """What `part` was judged by; None where nothing was asked of losses that no case shows."""
        if "worst_loss" not in part.beside:
            return None
        worth = part.beside.get("effective_patients")
        # An AUROC rests on the patients of one class, not on all of `part`.
        patients = int(part.beside["unseen_patients"])
        spread = part.beside["standard_error"] * _cases_in(patients, worth)
        return cls(part.difference, spread, part.beside["worst_loss"], patients, confidence, worth)

    @classmethod
    def nothing_seen(cls, part: Component, confidence: float) -> UnseenLoss | None:
        """As `of_part`, had the same patients not changed at all."""
        found = cls.of_part(part, confidence)
        return None if found is None else replace(found, mean=0.0, spread=0.0)


def margin_without_loss(patients: float, confidence: float) -> float:
    """The margin that so many independent patients support where none loses and one may lose all, t²/(n + t²)."""
    t = clustered_critical(confidence, patients)
    return t * t / (patients + t * t)


def _cases_in(patients: int, worth: float | None) -> float:
    """Standard deviation of one case over the standard error of the mean."""
    return sqrt(max((patients if worth is None else worth) - 1, 0.0))
