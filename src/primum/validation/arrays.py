"""Turning what callers hand in into checked arrays, and midranks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from primum.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def refuse_masked(values: Any, name: str) -> None:
    """InputError where a masked array hides something, also as a row or a value of a list: numpy would take what lies
    below."""
    if isinstance(values, list | tuple):
        for value in values:
            refuse_masked(value, name)
    elif isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise InputError(
            f"{name}: some values are masked, and what a mask hides is not judged: leave these cases out, or fill them"
        )


def as_labels(values: ArrayLike, name: str = "labels", *, allow_empty: bool = False) -> Ints:
    """`values` (N,) as int64 zeros and ones; InputError on anything else."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"{name} must have one dimension, got shape {array.shape}")
    if array.size == 0:
        if not allow_empty:
            raise InputError(f"{name} are empty: there is nothing to judge")
        return np.zeros(0, dtype=np.int64)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} must be 0 or 1, got values of type {array.dtype}")
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        where = int(np.flatnonzero(wrong)[0])
        raise InputError(f"{name} must be 0 or 1; {int(wrong.sum())} are not (first at position {where})")
    return array.astype(np.int64)


def as_scores(values: ArrayLike, n: int, name: str = "scores", *, finite: bool = True) -> Floats:
    """`values` (N,) as float64 of length `n`; InputError on another length or, if `finite`, on NaN and
    infinity."""
    refuse_masked(values, name)
    array = np.asarray(values, dtype=np.float64)
    same_length(array, n, name)
    if finite and not np.isfinite(array).all():
        where = int(np.flatnonzero(~np.isfinite(array))[0])
        raise InputError(f"{name} hold NaN or infinity (first at position {where})")
    return array


def same_length(array: NDArray[Any], n: int, name: str) -> None:
    """InputError unless `array` has shape (n,)."""
    if array.shape != (n,):
        raise InputError(f"{name} must have one value for each of the {n} cases, got shape {array.shape}")


def as_codes(clusters: ArrayLike, n: int) -> tuple[Ints, int]:
    """Cluster labels (N,) as codes 0..G-1, and G."""
    array = np.asarray(clusters)
    same_length(array, n, "clusters")
    unique, codes = np.unique(array, return_inverse=True)
    return codes.astype(np.int64), int(unique.size)


def check_confidence(confidence: float) -> float:
    """`confidence` itself; InputError unless 0 < confidence < 1."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence must lie between 0 and 1, got {confidence}")
    return float(confidence)


def check_margin(margin: float) -> float:
    """`margin` itself; InputError unless 0 < margin < 1."""
    if not 0 < margin < 1:
        raise InputError(f"a margin must lie between 0 and 1, got {margin}")
    return float(margin)


def midranks(values: Floats) -> Floats:
    """Ranks from 1, ties sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[inverse], dtype=np.float64)
