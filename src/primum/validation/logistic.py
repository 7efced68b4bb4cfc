"""Logistic recalibration by Newton's method: few enough parameters that no library is needed."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from primum.validation.arrays import Floats, Ints, as_codes

_ITERATIONS = 60
_TOLERANCE = 1e-12
_RESAMPLE_ITERATIONS = 25
_SETTLED = 1e-4
"""The error left after a Newton step is of the order of its square."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Coefficients with standard errors; NaN with a reason where no finite estimate exists."""

    coefficients: tuple[float, ...]
    errors: tuple[float, ...]
    reason: str = ""


def calibration_in_the_large(labels: Ints, logits: Floats, units: NDArray[np.generic] | None = None) -> Fit:
    """The intercept of a logistic model with the logits (n,) as offset, that is with the slope fixed at 1.

    Standard errors are the model's; with `units` (n,) that have several cases, the sandwich's by patient.
    """
    one_class = _one_class(labels)
    if one_class:
        return Fit((nan,), (nan,), one_class)
    return _fit(np.ones((labels.size, 1)), labels, logits, units)


def recalibration(labels: Ints, logits: Floats, units: NDArray[np.generic] | None = None) -> Fit:
    """Intercept and slope of a logistic model on the logits (n,); standard errors as above."""
    reason = _one_class(labels) or _separated(labels, logits)
    if reason:
        return Fit((nan, nan), (nan, nan), reason)
    design = np.column_stack([np.ones(labels.size), logits])
    return _fit(design, labels, np.zeros(labels.size), units)


def weighted_slopes(labels: Ints, logits: Floats, weights: Floats) -> Floats:
    """(B,) slopes of `recalibration` for each row of case weights (B, n) >= 0; NaN where a resample has none.

    Newton's method on all rows at once, from the fit of the whole sample, with bounded steps.
    """
    centre, scale = float(logits.mean()), float(logits.std()) or 1.0
    x = (logits - centre) / scale
    # Resamples lie close to the sample, so its own fit saves most of the steps.
    whole = recalibration(labels, x)
    beta = np.tile(np.zeros(2) if whole.reason else np.array(whole.coefficients), (len(weights), 1))
    with np.errstate(all="ignore"):
        for _ in range(_RESAMPLE_ITERATIONS):
            p = expit(beta[:, :1] + beta[:, 1:] * x)
            residual, w = weights * (labels - p), weights * p * (1 - p)
            score = np.column_stack([residual.sum(axis=1), residual @ x])
            a, b, c = w.sum(axis=1), w @ x, w @ (x * x)
            det = a * c - b * b
            step = np.column_stack([c * score[:, 0] - b * score[:, 1], a * score[:, 1] - b * score[:, 0]])
            step = np.clip(step / det[:, None], -2.0, 2.0)
            beta += np.where(np.isfinite(step), step, 0.0)
            if np.nanmax(np.abs(step), initial=0.0) < _SETTLED:
                break
        slopes = beta[:, 1] / scale
    settled = np.isfinite(step).all(axis=1) & (np.abs(step) < 1e-3).all(axis=1)
    return np.where(settled, slopes, nan)


def _fit(design: Floats, labels: Ints, offset: Floats, units: NDArray[np.generic] | None) -> Fit:
    beta = np.zeros(design.shape[1])
    deviance = _deviance(labels, offset)
    for _ in range(_ITERATIONS):
        p = expit(offset + design @ beta)
        information = design.T @ (design * (p * (1 - p))[:, None])
        step = np.linalg.lstsq(information, design.T @ (labels - p), rcond=None)[0]
        for _ in range(30):
            tried = _deviance(labels, offset + design @ (beta + step))
            if tried <= deviance * (1 + 1e-12) + 1e-12:
                break
            step = step / 2
        beta, deviance = beta + step, tried
        if np.abs(step).max() <= _TOLERANCE * max(1.0, float(np.abs(beta).max())):
            break
    p = expit(offset + design @ beta)
    inverse = np.linalg.pinv(design.T @ (design * (p * (1 - p))[:, None]))
    covariance = inverse if units is None else _sandwich(inverse, design * (labels - p)[:, None], units)
    return Fit(tuple(float(b) for b in beta), tuple(float(e) for e in np.sqrt(np.diag(covariance))))


def _sandwich(inverse: Floats, scores: Floats, units: NDArray[np.generic]) -> Floats:
    """The cluster-robust covariance with the factor G/(G - 1); the model's own where every unit has one case."""
    codes, groups = as_codes(units, len(scores))
    if groups == len(scores) or groups < 2:
        return inverse
    sums = np.stack([np.bincount(codes, weights=column, minlength=groups) for column in scores.T], axis=1)
    return np.asarray(groups / (groups - 1) * inverse @ (sums.T @ sums) @ inverse)


def _deviance(labels: Ints, logits: Floats) -> float:
    return float(2 * np.sum(np.logaddexp(0.0, logits) - labels * logits))


def _one_class(labels: Ints) -> str:
    if labels.size == 0:
        return "there are no cases"
    return "only one class is present" if labels.min() == labels.max() else ""


def _separated(labels: Ints, logits: Floats) -> str:
    """Why the slope has no finite estimate: the scores of the classes do not overlap."""
    sick, healthy = logits[labels == 1], logits[labels == 0]
    if logits.max() == logits.min():
        return "all scores are equal"
    overlap = sick.min() < healthy.max() and healthy.min() < sick.max()
    return "" if overlap else "the scores separate the classes, so no finite slope fits best"
