"""A metric that the user brings: both models' values, and their difference with an interval by patient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError
from primum.validation.arrays import Floats, as_codes
from primum.validation.intervals import Interval

Metric = Callable[[NDArray[Any], Floats], float]
"""(labels, scores) -> value, both as the gate takes them."""
_RESAMPLES = 500
_MAX_FAILED = 0.05


@dataclass(frozen=True, slots=True)
class CustomMetric:
    """A user's metric of both models. Reported, never deciding."""

    name: str
    reference: float
    candidate: float
    difference: Interval
    """candidate - reference; percentile interval of a bootstrap over patients."""
    resamples: int
    reason: str = ""
    """Why the interval is NaN."""


def compare_metric(
    name: str,
    metric: Metric,
    labels: NDArray[Any],
    scores: tuple[Floats, Floats],
    units: NDArray[Any],
    confidence: float = 0.95,
    seed: int = 0,
) -> CustomMetric:
    """`metric` of reference and candidate (`scores`, each (N, ...)) and of seeded draws of patients `units` (N,).

    A ValueError on a draw (one class only, say) counts as no value; above 5 % of those there is no interval.
    InputError where the metric gives no number on all cases.
    """
    reference, candidate = (_value(name, metric, labels, own) for own in scores)
    codes, patients = as_codes(units, len(labels))
    if patients < 2:
        return CustomMetric(name, reference, candidate, _nowhere(candidate - reference, confidence), 0, "one patient")
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    generator = np.random.default_rng(seed)
    found = np.full(_RESAMPLES, nan)
    for draw in range(_RESAMPLES):
        rows = np.concatenate([members[i] for i in generator.integers(patients, size=patients)])
        try:
            found[draw] = metric(labels[rows], scores[1][rows]) - metric(labels[rows], scores[0][rows])
        except ValueError:
            continue
    failed = float(np.isnan(found).mean())
    if failed > _MAX_FAILED:
        why = f"{failed:.0%} of the resamples give no value"
        return CustomMetric(name, reference, candidate, _nowhere(candidate - reference, confidence), _RESAMPLES, why)
    lower, upper = np.nanpercentile(found, [50 * (1 - confidence), 50 * (1 + confidence)])
    interval = Interval(candidate - reference, float(lower), float(upper), confidence)
    return CustomMetric(name, reference, candidate, interval, _RESAMPLES)


def _value(name: str, metric: Metric, labels: NDArray[Any], scores: Floats) -> float:
    try:
        value = float(metric(labels, scores))
    except (TypeError, ValueError) as error:
        raise InputError(f"the metric {name!r} gives no number: {error}") from error
    if isnan(value):
        raise InputError(f"the metric {name!r} is NaN on these cases")
    return value


def _nowhere(estimate: float, confidence: float) -> Interval:
    return Interval(estimate, nan, nan, confidence)
