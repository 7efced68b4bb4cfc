"""Statistics of latencies. What a sample is too small to support is NaN and named, never extrapolated."""

from __future__ import annotations

from math import nan
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from primum.errors import InputError

PERCENTILES = {"p50": (50.0, 2), "p95": (95.0, 20), "p99": (99.0, 100)}
"""Name -> (percentile, smallest sample that supports it: one in which a call beyond it is expected)."""
STATISTICS = ("mean", "median", "p50", "p95", "p99", "min", "max", "stddev")
TOO_SMALL = "n too small"
_RESAMPLES = 2000
_AT_ONCE = 2**21
"""Numbers held while resampling."""


def calculate_stage_statistics(timings: ArrayLike) -> dict[str, Any]:
    """Mean, median, p50, p95, p99, min, max and stddev of `timings` (N,) in ms, and count.

    A percentile that N cannot support (p95 needs 20, p99 needs 100) and the stddev of a single timing are NaN; the key
    `unsupported`, present only then, lists them. InputError on an empty sample, NaN, infinity or negative times.
    """
    values = _milliseconds(timings, "timings")
    if values.ndim != 1:
        raise InputError(f"timings must have one dimension, got shape {values.shape}")
    stats: dict[str, Any] = {"mean": float(values.mean()), "median": float(np.median(values))}
    for name, (percentile, needed) in PERCENTILES.items():
        stats[name] = float(np.percentile(values, percentile)) if values.size >= needed else nan
    stats |= {
        "min": float(values.min()),
        "max": float(values.max()),
        "stddev": float(values.std(ddof=1)) if values.size > 1 else nan,
        "count": int(values.size),
    }
    unsupported = [name for name in STATISTICS if np.isnan(stats[name])]
    return stats | ({"unsupported": unsupported} if unsupported else {})


def bootstrap_ratio(
    reference_ms: ArrayLike, candidate_ms: ArrayLike, seed: int = 0, confidence: float = 0.95
) -> tuple[float, float, float]:
    """(ratio, lower, upper): median of the reference over median of the candidate; above 1 the candidate is faster.

    Both are (rounds, calls) in ms, from the same interleaved rounds. Rounds are resampled in pairs, so that a slow
    minute of the machine, which hits both, does not widen the interval. One round supports no interval: NaN bounds.
    """
    reference, candidate = _milliseconds(reference_ms, "reference"), _milliseconds(candidate_ms, "candidate")
    if reference.ndim != 2 or candidate.ndim != 2 or len(reference) != len(candidate):
        raise InputError(
            "a paired ratio needs two arrays (rounds, calls) of the same rounds, "
            f"got shapes {reference.shape} and {candidate.shape}"
        )
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, got {confidence}")
    slowest, fastest = float(np.median(reference)), float(np.median(candidate))
    if fastest <= 0:
        raise InputError("the candidate's median is 0 ms: the clock cannot resolve it; time several calls at once")
    if len(reference) < 2:
        return slowest / fastest, nan, nan
    draws = np.random.default_rng(seed).integers(len(reference), size=(_RESAMPLES, len(reference)))
    parts = np.array_split(draws, 1 + _RESAMPLES * (reference.size + candidate.size) // _AT_ONCE)
    tiny = float(np.finfo(np.float64).tiny)
    ratios = np.concatenate([_medians(reference[d]) / np.maximum(_medians(candidate[d]), tiny) for d in parts])
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(ratios, [tail, 1 - tail])
    return slowest / fastest, float(lower), float(upper)


def _medians(resampled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over rounds and calls, of each resample."""
    return np.asarray(np.median(resampled.reshape(len(resampled), -1), axis=1))


def _milliseconds(values: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise InputError(f"{name}: no timings were recorded, so there is nothing to summarize")
    if not np.isfinite(array).all() or (array < 0).any():
        raise InputError(f"{name}: a time is NaN, infinite or negative")
    return array
