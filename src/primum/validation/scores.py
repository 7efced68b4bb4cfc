"""The endpoints that rest on scores: AUROC by MOVER-logit and score interval; means (Brier, Dice) and kappa by t."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.config import ClinicalPolicy
from primum.validation.arrays import Floats, Ints
from primum.validation.auroc import AurocPair, auroc_pair, delong, same_placements, same_ranking, worst_ranked
from primum.validation.auroc_bounds import (
    boundary_interval,
    mover_from_pair,
    presumed,
    score_interval,
    skewed_interval,
)
from primum.validation.clustered import clustered_critical
from primum.validation.intervals import Interval, MeanDifference, MoverInterval
from primum.validation.means import skewed_mean_interval, t_quantile
from primum.validation.multiclass import worst_if_broken
from primum.validation.ordinal import KappaDifference, kappa_difference
from primum.validation.outcomes import decided, identical, margin_of, not_assessed, smallest_passing
from primum.validation.unseen import UnseenLoss
from primum.validation.verdict import Component


def judge_auroc(
    labels: Ints,
    reference: Floats,
    candidate: Floats,
    units: NDArray[Any],
    policy: ClinicalPolicy,
    name: str = "auroc",
) -> Component:
    """AUROC by the wider of the MOVER-logit and the score interval, DeLong beside it; all vectors (N,), `units`
    are the patients.

    Where one has several cases, by the widest of these and `skewed_interval`, with Student's t of what the patients are
    worth (`presumed`).

    A candidate score that is not finite ranks worst for its class.
    """
    size = {"n": int(labels.size), "n_patients": int(np.unique(units).size)}
    if labels.min() == labels.max():
        return not_assessed(name, policy, f"there are no {'negatives' if labels[0] else 'positives'}", **size)
    finite = np.isfinite(candidate)
    ranked = worst_ranked(labels, candidate)
    pair, worth = auroc_pair(labels, ranked, reference, units), float(_smaller_class(labels, units))
    if size["n_patients"] < size["n"]:
        pair, worth = presumed(pair, auroc_pair(labels, ranked, reference), labels, units)
    areas = {"reference": pair.auc_b, "candidate": pair.auc_a}
    if finite.all() and same_ranking(candidate, reference):
        return identical(name, policy, "identical rankings", **areas, **size)
    if finite.all() and 0 < pair.auc_a < 1 and same_placements(labels, candidate, reference):
        return identical(name, policy, "no positive and negative case changed order", **areas, **size)
    if 1.0 in areas.values() and min(areas.values()) > 0.5:
        return _decide_boundary(name, pair, labels, units, policy, {**areas, **size})
    if pair.reason:
        return not_assessed(name, policy, pair.reason, **areas, **size)
    delong_beside = delong(labels, ranked, reference, policy.confidence, units)
    beside = {
        "delong_lower": delong_beside.lower,
        "delong_upper": delong_beside.upper,
        "delong_p": delong_beside.p_value,
        "delong_standard_error": delong_beside.standard_error,
    }
    return _decide_auroc(name, pair, worth, policy, {**areas, **size, "beside": beside})


def _decide_boundary(
    name: str, pair: AurocPair, labels: Ints, units: NDArray[Any], policy: ClinicalPolicy, figures: dict[str, Any]
) -> Component:
    smaller = _smaller_class(labels, units)
    margin = policy.margins.value(name)
    figures["method"] = "Wilson bounds of the smaller class, an AUROC being exactly 1"
    figures["n_patients"] = smaller

    def passes(count: int) -> bool:
        return boundary_interval(pair, count, policy.confidence).lower > -margin

    found = boundary_interval(pair, smaller, policy.confidence)
    return decided(
        name, policy, found, lambda: smallest_passing(passes, smaller), "patients of the smaller class", figures
    )


def _smaller_class(labels: Ints, units: NDArray[Any]) -> int:
    """Patients of the class that fewer have."""
    return min(int(np.unique(units[labels == value]).size) for value in (0, 1))


def _decide_auroc(
    name: str, pair: AurocPair, smaller: float, policy: ClinicalPolicy, figures: dict[str, Any]
) -> Component:
    """The widest bounds of the intervals of `auroc_bounds`; `smaller` patients, or what they are worth, have the rarer
    class."""
    margin, patients = policy.margins.value(name), figures["n_patients"]
    clustered = patients < figures["n"]

    def intervals(scale: float = 1.0) -> dict[str, Interval | MoverInterval]:
        critical = clustered_critical(policy.confidence, smaller * scale) if clustered else None
        found: dict[str, Interval | MoverInterval] = {
            "mover": mover_from_pair(pair, policy.confidence, scale, critical),
            "score": score_interval(pair, smaller, policy.confidence, scale),
        }
        if clustered:
            found["skewed"] = skewed_interval(pair, smaller, policy.confidence, scale)
        return found

    found = intervals()
    figures["beside"] |= {"correlation": pair.correlation} | {f"{k}_lower": i.lower for k, i in found.items()}
    figures["method"] = "MOVER-logit and score interval, the wider bounds, DeLong covariance"
    if clustered:
        figures["method"] = "MOVER-logit, score and skewed t interval, the widest bounds, Obuchowski covariance"

    def passes(count: int) -> bool:
        return min(interval.lower for interval in intervals(count / patients).values()) > -margin

    low, high = min(i.lower for i in found.values()), max(i.upper for i in found.values())
    return decided(
        name,
        policy,
        Interval(pair.auc_a - pair.auc_b, low, high, policy.confidence),
        lambda: smallest_passing(passes, patients),
        "patients" if clustered else "cases",
        figures,
    )


def judge_brier(
    labels: Ints,
    reference: Floats,
    candidate: Floats,
    units: NDArray[Any],
    policy: ClinicalPolicy,
    name: str = "brier",
) -> Component:
    """Brier score of P(yes) by the mean of reference - candidate squared errors; all vectors (N,).

    A candidate score that is not finite has squared error 1.
    """
    before, after = (worst_if_broken((scores - labels) ** 2) for scores in (reference, candidate))
    return judge_loss(name, before, after, units, policy)


def judge_loss(
    name: str, before: Floats, after: Floats, units: NDArray[Any], policy: ClinicalPolicy, worst: float | None = None
) -> Component:
    """The mean loss (n,) of reference and candidate: their paired difference, t interval by patient, widened for
    skewness.

    `worst` is the most that a case can lose: where nothing else is judged of the cases that could show a rare loss, the
    lower bound is that of `UnseenLoss` too, and equal losses are no identity. Where one did lose more, that counts.
    """
    return _judge_mean(name, before - after, (before, after), units, policy, worst)


def judge_gain(
    name: str, before: Floats, after: Floats, units: NDArray[Any], policy: ClinicalPolicy, worst: float | None = None
) -> Component:
    """As `judge_loss` for figures of which more is better."""
    return _judge_mean(name, after - before, (before, after), units, policy, worst)


def _judge_mean(
    name: str,
    gains: Floats,
    figures_of: tuple[Floats, Floats],
    units: NDArray[Any],
    policy: ClinicalPolicy,
    worst: float | None,
) -> Component:
    n, patients = int(gains.size), int(np.unique(units).size)
    figures: dict[str, Any] = {
        "reference": float(figures_of[0].mean()),
        "candidate": float(figures_of[1].mean()),
        "n": n,
        "n_patients": patients,
    }
    changed = bool(gains.any())
    if not changed and worst is None:
        return identical(name, policy, "identical losses", **figures)
    mean = skewed_mean_interval(gains, policy.confidence, units)
    if mean.degenerate and changed:
        return not_assessed(name, policy, mean.reason, **figures)
    figures["method"] = f"paired t{', cluster-robust' if patients < n else ''}, widened for skewness"
    if worst is None:
        return decide_by_t(name, mean, policy, figures)
    unseen = UnseenLoss.of(mean, n, units, max(worst, float(-gains.min())))
    figures["method"] += f", and for a loss of {unseen.worst:.3g} that no case shows"
    if not changed:
        # Equal figures have no t: what a loss may take away, a gain that no case shows may add.
        mean = replace(mean, lower=0.0, upper=-unseen.lower(), standard_error=0.0, degrees_of_freedom=patients - 1)
    return decide_by_t(name, mean, policy, figures, unseen)


def judge_kappa(
    labels: Ints,
    reference: Ints,
    candidate: Ints,
    grades: int,
    units: NDArray[Any],
    policy: ClinicalPolicy,
    name: str = "kappa",
) -> Component:
    """Quadratic-weighted kappa with the labels by the jackknife of patients; grades (n,) from 0.

    Where no decision changed it cannot differ (basis identity); accuracy, which is judged beside it, says what so many
    patients can show.
    """
    found = kappa_difference(labels, reference, candidate, grades, policy.confidence, units)
    n, patients = int(labels.size), int(np.unique(units).size)
    figures: dict[str, Any] = {
        "reference": found.reference,
        "candidate": found.candidate,
        "n": n,
        "n_patients": patients,
    }
    if np.array_equal(reference, candidate):
        return identical(name, policy, "identical decisions", **figures)
    if found.degenerate:
        return not_assessed(name, policy, found.reason, **figures)
    figures["method"] = "jackknife of patients, t, widened as a score interval"
    return decide_by_t(name, found, policy, figures)


def decide_by_t(
    name: str,
    found: MeanDifference | KappaDifference,
    policy: ClinicalPolicy,
    figures: dict[str, Any],
    unseen: UnseenLoss | None = None,
) -> Component:
    """The component that a t interval of patients decides, its lower bound that of `unseen` where this is lower;
    `figures` lacks only what stands beside."""
    patients = figures["n_patients"]
    margin, _ = margin_of(name, policy)
    figures["beside"] = {
        "standard_error": found.standard_error,
        "degrees_of_freedom": float(found.degrees_of_freedom),
    }
    lower = found.lower
    if unseen is not None:
        figures["beside"] |= unseen.figures() | {"t_lower": found.lower}
        lower = min(lower, unseen.lower())

    def passes(count: int) -> bool:
        scale = t_quantile(policy.confidence, count - 1) / t_quantile(policy.confidence, max(patients, 2) - 1)
        by_t = found.estimate - (found.estimate - found.lower) * scale * sqrt(patients / count)
        return by_t > -margin and (unseen is None or unseen.lower(count) > -margin)

    return decided(
        name,
        policy,
        Interval(found.estimate, lower, found.upper, policy.confidence),
        lambda: smallest_passing(passes, patients),
        "patients" if patients < figures["n"] else "cases",
        figures,
    )
