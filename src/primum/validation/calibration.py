"""Calibration: whether a score of 0.3 means that 3 in 10 such patients are ill. Reported, never gated on alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import nan, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erfc, logit

from primum.validation.arrays import Bools, Floats, Ints, as_codes, as_labels, as_scores, midranks
from primum.validation.intervals import Interval, SignificanceTest
from primum.validation.logistic import calibration_in_the_large, recalibration, weighted_slopes
from primum.validation.shares import share_interval
from primum.validation.views import View

ECE_BINS = 15
CURVE_BINS = 10
CLIP = 1e-7
"""Scores nearer to 0 or 1 have no logit that means anything: the resolution of float32 at 1."""
_SIMULATIONS = 200
_RESAMPLES = 400
_BLOCK = 250_000
"""Numbers of one block of resamples."""
_MAX_FAILED = 0.05


@dataclass(frozen=True, slots=True)
class CurveBin:
    """One bin of a reliability curve: its mean score, and the observed share with Wilson's interval by patient."""

    n: int
    predicted: float
    observed: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far the scores of one model can be read as probabilities; NaN, with `reason`, where a figure has none."""

    n: int
    n_positive: int
    intercept: float
    """Calibration-in-the-large: the intercept with the slope fixed at 1; 0 is ideal, above 0 risks are too low."""
    intercept_error: float
    slope: float
    """1 is ideal; below 1 the scores are too extreme."""
    slope_error: float
    brier: float
    ece: float
    """15 bins of equal width; biased upwards, most with few cases, so read it against `ece_expected`."""
    ece_expected: float
    """Mean ECE of a perfectly calibrated model with these very scores, by seeded simulation of independent cases."""
    ece_expected_upper: float
    """Its 95th percentile."""
    spiegelhalter: SignificanceTest
    """z and two-sided p-value; cases taken as independent."""
    curve: tuple[CurveBin, ...]
    """Bins of equal count; equal scores stay together."""
    clipped: int = 0
    """Scores of (nearly) 0 or 1, moved to 1e-7 or 1 - 1e-7 for intercept and slope."""
    left_out: int = 0
    """Scores that were not finite."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CalibrationPair:
    """Both models on the cases of one binary question. Differences are candidate - reference, on cases that both
    answer, with percentile intervals of a bootstrap over patients: reported, never deciding."""

    name: str
    """"" for BINARY, else the class, cut or label."""
    reference: Calibration
    candidate: Calibration
    slope_difference: Interval
    ece_difference: Interval
    resamples: int
    reason: str = ""
    """Why an interval is NaN."""


def calibrate(
    labels: ArrayLike, scores: ArrayLike, units: ArrayLike | None = None, confidence: float = 0.95
) -> Calibration:
    """Curve, calibration-in-the-large, slope, Brier score, ECE and Spiegelhalter's z: scores and 0/1 labels (n,).

    Intercept and slope after Cox (1958) as Van Calster (2019) reads them; standard errors by patient where `units` (n,)
    repeat. Scores that are not finite are left out and counted. InputError on labels that are not 0 or 1, on another
    length, and without labels.
    """
    truth = as_labels(labels)
    values = as_scores(scores, truth.size, finite=False)
    of = np.arange(truth.size) if units is None else np.asarray(units)
    kept = np.isfinite(values)
    y, p, of = truth[kept], values[kept].clip(0.0, 1.0), of[kept]
    left_out = int((~kept).sum())
    if not y.size:
        none = SignificanceTest(nan, nan)
        return Calibration(0, 0, *(nan,) * 8, none, (), 0, left_out, "no score is finite")
    logits, clipped = _logits(p)
    large, both = calibration_in_the_large(y, logits, of), recalibration(y, logits, of)
    expected = _perfect_ece(p)
    return Calibration(
        n=y.size,
        n_positive=int(y.sum()),
        intercept=large.coefficients[0],
        intercept_error=large.errors[0],
        slope=both.coefficients[1],
        slope_error=both.errors[1],
        brier=float(np.mean((p - y) ** 2)),
        ece=expected_calibration_error(y, p),
        ece_expected=float(expected.mean()),
        ece_expected_upper=float(np.percentile(expected, 95)),
        spiegelhalter=spiegelhalter(y, p),
        curve=reliability_curve(y, p, of, confidence),
        clipped=clipped,
        left_out=left_out,
        reason=large.reason or both.reason,
    )


def compare_calibration(view: View, units: NDArray[Any], confidence: float = 0.95, seed: int = 0) -> CalibrationPair:
    """Both models on one binary question; `units` (n,) are the patients of the view's cases.

    The bootstrap draws patients with replacement, both models on the same draws.
    """
    reference = calibrate(view.labels, view.reference, units, confidence)
    candidate = calibrate(view.labels, view.candidate, units, confidence)
    kept = np.isfinite(view.reference) & np.isfinite(view.candidate)
    pair = [view.reference[kept].clip(0.0, 1.0), view.candidate[kept].clip(0.0, 1.0)]
    slopes, eces, why = _resampled(view.labels[kept], pair, units[kept], seed)
    why = why or reference.reason or candidate.reason
    return CalibrationPair(
        name=view.name,
        reference=reference,
        candidate=candidate,
        slope_difference=_percentile(candidate.slope - reference.slope, slopes, confidence),
        ece_difference=_percentile(candidate.ece - reference.ece, eces, confidence),
        resamples=len(eces),
        reason=why,
    )


def reliability_curve(
    labels: Ints, scores: Floats, units: NDArray[Any], confidence: float = 0.95, bins: int = CURVE_BINS
) -> tuple[CurveBin, ...]:
    """Observed share against mean score (n,) in at most `bins` bins of equal count, from low to high."""
    place = np.floor((midranks(scores) - 0.5) / scores.size * bins).astype(np.int64)
    found = []
    for number in np.unique(place):
        member = place == number
        share = share_interval(labels[member] == 1, units[member], confidence)
        mean = float(scores[member].mean())
        found.append(CurveBin(int(member.sum()), mean, share.estimate, share.lower, share.upper))
    return tuple(found)


def expected_calibration_error(labels: ArrayLike, scores: ArrayLike, bins: int = ECE_BINS) -> float:
    """sum over bins of n_b/n |mean label - mean P(positive)|, bins [k/B, (k+1)/B), 1 in a bin of its own.

    That is torchmetrics' binary_calibration_error with norm l1. InputError as `calibrate`, and on scores not finite.
    """
    y = as_labels(labels)
    p = as_scores(scores, y.size)
    place, size = _ece_bins(p, bins)
    gap = np.bincount(place, weights=y, minlength=size) - np.bincount(place, weights=p, minlength=size)
    return float(np.abs(gap).sum() / y.size)


def spiegelhalter(labels: ArrayLike, scores: ArrayLike) -> SignificanceTest:
    """Spiegelhalter's (1986) z of the Brier score, with the two-sided p-value; NaN where scores of 0, 1/2 and 1 alone
    leave no variance. InputError as `expected_calibration_error`."""
    y = as_labels(labels)
    p = as_scores(scores, y.size)
    variance = float(np.sum((1 - 2 * p) ** 2 * p * (1 - p)))
    if variance <= 0:
        return SignificanceTest(nan, nan)
    z = float(np.sum((y - p) * (1 - 2 * p))) / sqrt(variance)
    return SignificanceTest(z, float(erfc(abs(z) / sqrt(2))))


def _logits(p: Floats) -> tuple[Floats, int]:
    return np.asarray(logit(p.clip(CLIP, 1 - CLIP))), int(((p < CLIP) | (p > 1 - CLIP)).sum())


def _ece_bins(p: Floats, bins: int = ECE_BINS) -> tuple[Ints, int]:
    edges = np.linspace(0.0, 1.0, bins + 1)
    return (np.searchsorted(edges, p, side="right") - 1).astype(np.int64), bins + 1


def _one_hot(p: Floats) -> Floats:
    place, size = _ece_bins(p)
    used, column = np.unique(place, return_inverse=True)
    return np.asarray(np.eye(len(used))[column]) if size else np.zeros((p.size, 0))


def _perfect_ece(p: Floats, seed: int = 0) -> Floats:
    """(S,) ECE with labels drawn from the scores themselves."""
    generator, bins = np.random.default_rng(seed), _one_hot(p)
    found = []
    for rows in _blocks(_SIMULATIONS, p.size):
        drawn = (generator.random((rows, p.size)) < p).astype(np.float64)
        found.append(np.abs((drawn - p) @ bins).sum(axis=1) / p.size)
    return np.concatenate(found)


def _resampled(labels: Ints, pair: list[Floats], units: NDArray[Any], seed: int) -> tuple[Floats, Floats, str]:
    """(B,) differences of slope and of ECE over draws of patients, and why there are none."""
    codes, patients = as_codes(units, labels.size)
    if patients < 2 or labels.min() == labels.max():
        why = "fewer than two patients" if patients < 2 else "only one class is present"
        return np.full(1, nan), np.full(1, nan), why
    generator = np.random.default_rng(seed)
    logits, bins = [_logits(p)[0] for p in pair], [_one_hot(p) for p in pair]
    slopes, eces = [], []
    for rows in _blocks(_RESAMPLES, labels.size):
        draws = generator.multinomial(patients, np.full(patients, 1 / patients), size=rows)[:, codes].astype(np.float64)
        total = draws.sum(axis=1)
        both = [weighted_slopes(labels, x, draws) for x in logits]
        slopes.append(both[1] - both[0])
        gaps = [np.abs(draws * (labels - p) @ b).sum(axis=1) / total for p, b in zip(pair, bins)]
        eces.append(gaps[1] - gaps[0])
    found = np.concatenate(slopes)
    failed = float(np.isnan(found).mean())
    why = f"{failed:.0%} of the resamples have no finite slope" if failed > _MAX_FAILED else ""
    return np.full(1, nan) if why else found[~np.isnan(found)], np.concatenate(eces), why


def _blocks(total: int, n: int) -> Iterator[int]:
    size = max(1, _BLOCK // max(n, 1))
    for start in range(0, total, size):
        yield min(size, total - start)


def _percentile(estimate: float, draws: Floats, confidence: float) -> Interval:
    usable: Bools = np.isfinite(draws)
    if not usable.all() or not np.isfinite(estimate):
        return Interval(estimate, nan, nan, confidence)
    tail = 50 * (1 - confidence)
    lower, upper = np.percentile(draws, [tail, 100 - tail])
    return Interval(estimate, float(lower), float(upper), confidence)
