"""Two small fits: a rising curve by pooling violators, and a line that an outlier does not tilt."""

from __future__ import annotations

from collections.abc import Sequence

_HUBER = 1.5
_ROUNDS = 3


def isotonic(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The nearest rising sequence in weighted least squares (pool adjacent violators)."""
    pools: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        pool = (value, weight, 1)
        while pools and pools[-1][0] > pool[0]:
            before = pools.pop()
            total = before[1] + pool[1]
            pool = ((before[0] * before[1] + pool[0] * pool[1]) / total, total, before[2] + pool[2])
        pools.append(pool)
    return [value for value, _, count in pools for _ in range(count)]


def robust_line(sizes: Sequence[int], values: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    """(intercept, slope), neither negative, by Huber's weights in iterated least squares.

    The scale is the median absolute residual; (0, value / size) of a single point.
    """
    if len(sizes) == 1:
        return 0.0, values[0] / sizes[0]
    now = list(weights)
    intercept = slope = 0.0
    for _ in range(_ROUNDS):
        intercept, slope = _line(sizes, values, now)
        misses = [abs(y - intercept - slope * n) for n, y in zip(sizes, values, strict=True)]
        scale = sorted(misses)[len(misses) // 2]
        if scale <= 1e-9 * max(values):
            break
        now = [w * min(1.0, _HUBER * scale / miss) if miss else w for w, miss in zip(weights, misses, strict=True)]
    return intercept, slope


def _line(sizes: Sequence[int], values: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    total = sum(weights)
    mean_n = sum(w * n for w, n in zip(weights, sizes, strict=True)) / total
    mean_y = sum(w * y for w, y in zip(weights, values, strict=True)) / total
    spread = sum(w * (n - mean_n) ** 2 for w, n in zip(weights, sizes, strict=True))
    rise = sum(w * (n - mean_n) * (y - mean_y) for w, n, y in zip(weights, sizes, values, strict=True))
    slope = max(0.0, rise / spread)
    intercept = mean_y - slope * mean_n
    return (intercept, slope) if intercept >= 0 else (0.0, mean_y / mean_n)
