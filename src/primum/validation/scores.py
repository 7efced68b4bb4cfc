"""The endpoints that rest on scores: AUROC by MOVER-logit and score interval; means (Brier, Dice) and kappa by t."""

from __future__ import annotations

from collections.abc import Callable
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

    Beyond these the lower bound is that of `UnseenLoss` where it is lower, so that equal rankings of few cases prove
    nothing. A candidate score that is not finite ranks worst for its class.
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
    unseen = UnseenLoss.of_ranking(pair, labels, units, policy.confidence)
    if 1.0 in areas.values() and min(areas.values()) > 0.5:
        return _decide_boundary(name, pair, _smaller_class(labels, units), unseen, policy, {**areas, **size})
    if finite.all() and pair.auc_b > 0 and same_placements(labels, candidate, reference):
        what = "identical rankings" if same_ranking(candidate, reference) else "no two cases of both classes swapped"
        # What a change that no case shows may take away, it may add.
        none = Interval(0.0, 0.0, -unseen.lower(), policy.confidence)
        beside = {"seen_lower": 0.0, "standard_error": 0.0}
        return _decide_ranking(
            name, none, lambda _: 0.0, unseen, policy, {**areas, **size, "method": what, "beside": beside}
        )
    if pair.reason:
        return not_assessed(name, policy, pair.reason, **areas, **size)
    delong_beside = delong(labels, ranked, reference, policy.confidence, units)
    beside = {
        "delong_lower": delong_beside.lower,
        "delong_upper": delong_beside.upper,
        "delong_p": delong_beside.p_value,
        "delong_standard_error": delong_beside.standard_error,
    }
    return _decide_auroc(name, pair, worth, unseen, policy, {**areas, **size, "beside": beside})


def _decide_boundary(
    name: str, pair: AurocPair, smaller: int, unseen: UnseenLoss, policy: ClinicalPolicy, figures: dict[str, Any]
) -> Component:
    """Of an AUROC of exactly 1: `smaller` patients of the rarer class; where some have several cases, what these are
    worth counts too."""
    margin, clustered = policy.margins.value(name), figures["n_patients"] < figures["n"]
    figures["method"] = "Wilson bounds of the smaller class, an AUROC being exactly 1"
    figures["n_patients"] = smaller
    error = 0.0 if np.isnan(pair.variance) else sqrt(pair.variance)

    def lower(count: int) -> float:
        alone = boundary_interval(pair, count, policy.confidence).lower
        return min(alone, unseen.lower(unseen.patients * count / smaller)) if clustered else alone

    found = boundary_interval(pair, smaller, policy.confidence)
    figures["beside"] = unseen.figures() | {"seen_lower": found.lower, "standard_error": error}
    return decided(
        name,
        policy,
        replace(found, lower=lower(smaller)),
        lambda: smallest_passing(lambda count: lower(count) > -margin, smaller),
        "patients of the smaller class",
        figures,
    )


def _smaller_class(labels: Ints, units: NDArray[Any]) -> int:
    """Patients of the class that fewer have."""
    return min(int(np.unique(units[labels == value]).size) for value in (0, 1))


def _decide_auroc(
    name: str, pair: AurocPair, smaller: float, unseen: UnseenLoss, policy: ClinicalPolicy, figures: dict[str, Any]
) -> Component:
    """The widest bounds of the intervals of `auroc_bounds` and of `unseen`; `smaller` patients, or what they are worth,
    have the rarer class."""
    clustered = figures["n_patients"] < figures["n"]

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
    low, high = min(i.lower for i in found.values()), max(i.upper for i in found.values())
    figures["beside"] |= {"correlation": pair.correlation} | {f"{k}_lower": i.lower for k, i in found.items()}
    figures["beside"] |= {"seen_lower": low, "standard_error": sqrt(pair.variance)}
    figures["method"] = "MOVER-logit and score interval, the wider bounds, DeLong covariance"
    if clustered:
        figures["method"] = "MOVER-logit, score and skewed t interval, the widest bounds, Obuchowski covariance"

    def seen(scale: float) -> float:
        return min(interval.lower for interval in intervals(scale).values())

    interval = Interval(pair.auc_a - pair.auc_b, low, high, policy.confidence)
    return _decide_ranking(name, interval, seen, unseen, policy, figures)


def _decide_ranking(
    name: str,
    seen: Interval,
    seen_lower: Callable[[float], float],
    unseen: UnseenLoss,
    policy: ClinicalPolicy,
    figures: dict[str, Any],
) -> Component:
    """The lower of the bounds of `seen` and `unseen`; `seen_lower` is the former from so many times as many cases."""
    margin, patients = policy.margins.value(name), figures["n_patients"]
    figures["beside"] |= unseen.figures()
    figures["method"] += f", and for a loss of {unseen.worst:.3g} that no case shows"

    def passes(count: int) -> bool:
        scale = count / patients
        return min(seen_lower(scale), unseen.lower(unseen.patients * scale)) > -margin

    return decided(
        name,
        policy,
        replace(seen, lower=min(seen.lower, unseen.lower())),
        lambda: smallest_passing(passes, patients),
        "patients" if patients < figures["n"] else "cases",
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
    return judge_loss(name, before, after, units, policy, worst=1.0)


def judge_loss(
    name: str, before: Floats, after: Floats, units: NDArray[Any], policy: ClinicalPolicy, worst: float
) -> Component:
    """The mean loss (n,) of reference and candidate: their paired difference, t interval by patient, widened for
    skewness.

    `worst` is the most that a case can lose: the lower bound is that of `UnseenLoss` too, and equal losses are no
    identity. Where one did lose more, that counts.
    """
    return _judge_mean(name, before - after, (before, after), units, policy, worst)


def judge_gain(
    name: str, before: Floats, after: Floats, units: NDArray[Any], policy: ClinicalPolicy, worst: float
) -> Component:
    """As `judge_loss` for figures of which more is better."""
    return _judge_mean(name, after - before, (before, after), units, policy, worst)


def _judge_mean(
    name: str,
    gains: Floats,
    figures_of: tuple[Floats, Floats],
    units: NDArray[Any],
    policy: ClinicalPolicy,
    worst: float,
) -> Component:
    n, patients = int(gains.size), int(np.unique(units).size)
    figures: dict[str, Any] = {
        "reference": float(figures_of[0].mean()),
        "candidate": float(figures_of[1].mean()),
        "n": n,
        "n_patients": patients,
    }
    changed = bool(gains.any())
    mean = skewed_mean_interval(gains, policy.confidence, units)
    if mean.degenerate and changed:
        return not_assessed(name, policy, mean.reason, difference=float(gains.mean()), **figures)
    figures["method"] = f"paired t{', cluster-robust' if patients < n else ''}, widened for skewness"
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
        figures["beside"] |= unseen.figures() | {"seen_lower": found.lower}
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
