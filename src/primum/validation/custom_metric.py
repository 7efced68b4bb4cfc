"""A metric that the user brings: both models' values, and their difference with an interval by patient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, nan
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

    A draw on which the metric raises ValueError or ArithmeticError (one class only, say), or is not finite, counts as
    no value; above 5 % of those there is no interval. InputError, which names the metric and none of the data, where
    it fails in another way, or on all cases.
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
        values = [_drawn(name, metric, labels[rows], own[rows]) for own in scores]
        found[draw] = values[1] - values[0]
    failed = float(np.isnan(found).mean())
    if failed > _MAX_FAILED:
        why = f"{failed:.0%} of the resamples give no value"
        return CustomMetric(name, reference, candidate, _nowhere(candidate - reference, confidence), _RESAMPLES, why)
    lower, upper = np.nanpercentile(found, [50 * (1 - confidence), 50 * (1 + confidence)])
    interval = Interval(candidate - reference, float(lower), float(upper), confidence)
    return CustomMetric(name, reference, candidate, interval, _RESAMPLES)


def _value(name: str, metric: Metric, labels: NDArray[Any], scores: Floats) -> float:
    value = _call(name, metric, labels, scores)
    if not isfinite(value):
        raise InputError(f"the metric {name!r} gives {value} on all cases, which is nothing to compare")
    return value


def _drawn(name: str, metric: Metric, labels: NDArray[Any], scores: Floats) -> float:
    """The value; NaN where a draw has none."""
    try:
        value = _call(name, metric, labels, scores)
    except InputError as error:
        if isinstance(error.__cause__, ValueError | ArithmeticError):
            return nan
        raise
    return value if isfinite(value) else nan


def _call(name: str, metric: Metric, labels: NDArray[Any], scores: Floats) -> float:
    try:
        value = metric(labels, scores)
    # Somebody else's function may raise anything; its message may quote the data, so the kind alone is said.
    except Exception as error:
        raise InputError(f"the metric {name!r} raised {type(error).__name__}; mend it, or leave it out") from error
    try:
        if isinstance(value, str | bytes) or np.ndim(value):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        kind = type(value).__name__
        raise InputError(f"the metric {name!r} gives no number but {kind}: return one number for all cases") from None


def _nowhere(estimate: float, confidence: float) -> Interval:
    return Interval(estimate, nan, nan, confidence)
