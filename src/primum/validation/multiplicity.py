"""Several tests at once: Holm's step-down adjustment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from primum.errors import InputError


@dataclass(frozen=True, slots=True)
class HolmTests:
    """Adjusted p-values in the order given, and which of them reject at `alpha`."""

    adjusted: tuple[float, ...]
    rejected: tuple[bool, ...]
    alpha: float


def holm(p_values: ArrayLike, alpha: float = 0.05) -> HolmTests:
    """Holm's step-down adjustment (Holm 1979, Scand J Stat 6:65): holds the family-wise error whatever the dependence.

    InputError unless `p_values` is a vector of numbers in [0, 1] and 0 < alpha < 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise InputError("Holm's adjustment needs a vector of p-values in [0, 1]")
    if not 0 < alpha < 1:
        raise InputError(f"alpha must lie between 0 and 1, got {alpha}")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate((p.size - np.arange(p.size)) * p[order])
    adjusted = np.empty(p.size)
    adjusted[order] = np.minimum(stepped, 1.0)
    return HolmTests(tuple(adjusted.tolist()), tuple((adjusted <= alpha).tolist()), alpha)
