"""How much of the space of (latency, size, harm) a set of candidates covers: the progress of an exploration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def hypervolume(points: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Volume between `points` (n, 3), of which less is better, and `reference` (3,) (Zitzler & Thiele 1999).

    Exact, by slabs along the last axis. A point that is not below the reference everywhere covers nothing.
    """
    inside = points[(points < reference).all(axis=1)] if len(points) else points
    inside = inside[np.argsort(inside[:, 2])] if len(inside) else inside
    heights = np.append(inside[:, 2], reference[2]) if len(inside) else np.zeros(1)
    return float(sum((heights[i + 1] - heights[i]) * _area(inside[: i + 1], reference) for i in range(len(inside))))


def _area(points: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Area that the first two columns cover: a staircase."""
    covered, lowest = 0.0, float(reference[1])
    for x, y in points[np.argsort(points[:, 0]), :2]:
        if y < lowest:
            covered += (float(reference[0]) - float(x)) * (lowest - float(y))
            lowest = float(y)
    return covered
