"""The endpoints that rest on scores: AUROC by MOVER-logit, the Brier score by its paired difference."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.config import ClinicalPolicy
from primum.validation.arrays import Floats, Ints
from primum.validation.auroc import (
    AurocPair,
    auroc_pair,
    boundary_interval,
    delong,
    mover_from_pair,
    same_placements,
    same_ranking,
)
from primum.validation.intervals import Interval
from primum.validation.means import paired_mean_interval, t_quantile
from primum.validation.outcomes import decided, identical, not_assessed, smallest_passing
from primum.validation.verdict import Component


def judge_auroc(
    labels: Ints, reference: Floats, candidate: Floats, units: NDArray[Any], policy: ClinicalPolicy
) -> Component:
    """AUROC by the MOVER-logit interval, DeLong beside it; all vectors (N,), `units` are the patients.

    A candidate score that is not finite ranks worst for its class.
    """
    size = {"n": int(labels.size), "n_patients": int(np.unique(units).size)}
    if labels.min() == labels.max():
        return not_assessed("auroc", policy, f"there are no {'negatives' if labels[0] else 'positives'}", **size)
    finite = np.isfinite(candidate)
    ranked = np.where(finite, candidate, np.where(labels == 1, -1.0, 2.0))
    pair = auroc_pair(labels, ranked, reference, units)
    areas = {"reference": pair.auc_b, "candidate": pair.auc_a}
    if finite.all() and same_ranking(candidate, reference):
        return identical("auroc", policy, "identical rankings", **areas, **size)
    if finite.all() and 0 < pair.auc_a < 1 and same_placements(labels, candidate, reference):
        return identical("auroc", policy, "no positive and negative case changed order", **areas, **size)
    if 1.0 in areas.values() and min(areas.values()) > 0.5:
        return _decide_boundary(pair, labels, units, policy, {**areas, **size})
    if pair.reason:
        return not_assessed("auroc", policy, pair.reason, **areas, **size)
    delong_beside = delong(labels, ranked, reference, policy.confidence, units)
    beside = {
        "delong_lower": delong_beside.lower,
        "delong_upper": delong_beside.upper,
        "delong_p": delong_beside.p_value,
        "delong_standard_error": delong_beside.standard_error,
    }
    return _decide_auroc(pair, policy, {**areas, **size, "beside": beside})


def _decide_boundary(
    pair: AurocPair, labels: Ints, units: NDArray[Any], policy: ClinicalPolicy, figures: dict[str, Any]
) -> Component:
    smaller = min(np.unique(units[labels == value]).size for value in (0, 1))
    margin = policy.margins.value("auroc")
    figures["method"] = "Wilson bounds of the smaller class, an AUROC being exactly 1"
    figures["n_patients"] = smaller

    def passes(count: int) -> bool:
        return boundary_interval(pair, count, policy.confidence).lower > -margin

    found = boundary_interval(pair, smaller, policy.confidence)
    return decided(
        "auroc", policy, found, lambda: smallest_passing(passes, smaller), "patients of the smaller class", figures
    )


def _decide_auroc(pair: AurocPair, policy: ClinicalPolicy, figures: dict[str, Any]) -> Component:
    margin, patients = policy.margins.value("auroc"), figures["n_patients"]
    clustered = patients < figures["n"]
    mover = mover_from_pair(pair, policy.confidence)
    figures["beside"]["correlation"] = mover.correlation
    figures["method"] = f"MOVER-logit, {'Obuchowski' if clustered else 'DeLong'} covariance"

    def passes(count: int) -> bool:
        return mover_from_pair(pair, policy.confidence, count / patients).lower > -margin

    return decided(
        "auroc",
        policy,
        Interval(mover.estimate, mover.lower, mover.upper, policy.confidence),
        lambda: smallest_passing(passes, patients),
        "patients" if clustered else "cases",
        figures,
    )


def judge_brier(
    labels: Ints, reference: Floats, candidate: Floats, units: NDArray[Any], policy: ClinicalPolicy
) -> Component:
    """Brier score by the mean of reference - candidate squared errors, t interval; all vectors (N,).

    A candidate score that is not finite has squared error 1.
    """
    before = (reference - labels) ** 2
    finite = np.isfinite(candidate)
    after = np.where(finite, (np.where(finite, candidate, 0.0) - labels) ** 2, 1.0)
    n, patients = int(labels.size), int(np.unique(units).size)
    figures: dict[str, Any] = {
        "reference": float(before.mean()),
        "candidate": float(after.mean()),
        "n": n,
        "n_patients": patients,
    }
    if np.array_equal(before, after):
        return identical("brier", policy, "identical squared errors", **figures)
    mean = paired_mean_interval(before - after, policy.confidence, units)
    if mean.degenerate:
        return not_assessed("brier", policy, mean.reason, **figures)
    margin = policy.margins.value("brier")
    figures["method"] = "paired t, cluster-robust" if patients < n else "paired t"
    figures["beside"] = {
        "standard_error": mean.standard_error,
        "degrees_of_freedom": float(mean.degrees_of_freedom),
    }

    def passes(count: int) -> bool:
        half = t_quantile(policy.confidence, count - 1) * mean.standard_error * sqrt(patients / count)
        return mean.estimate - half > -margin

    return decided(
        "brier",
        policy,
        Interval(mean.estimate, mean.lower, mean.upper, policy.confidence),
        lambda: smallest_passing(passes, patients),
        "patients" if patients < n else "cases",
        figures,
    )
