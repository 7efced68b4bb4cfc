"""How long a call of each size takes: measured, smoothed, and a line where nothing was measured yet."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Hashable
from math import ceil

from primum.batching.curve import isotonic, robust_line

_WINDOW = 32
"""Latest calls of each size that count."""
_RATIOS = 128
_FEW = 8
"""With fewer calls of a size than this, its upper quantile is widened by what other sizes showed."""
_MOST_BETWEEN_FITS = 64


class LatencyTable:
    """Service times of one model and one bucket, in seconds by batch size. All curves rise with size.

    A curve is measured sizes smoothed by isotonic regression; between them a robust line b + a*n clamped to its
    neighbours. Beyond twice the largest measured size time grows in proportion to size, so that sizes are explored by
    doubling rather than on trust. Real curves have steps, at padded sizes, that a line alone would miss.
    """

    __slots__ = (
        "_counts",
        "_fast",
        "_lows",
        "_mids",
        "_pending",
        "_quantile",
        "_ratios",
        "_samples",
        "_stale",
        "_total",
        "_typical",
        "_upper",
        "_wait",
        "version",
    )

    def __init__(self, quantile: float = 0.95) -> None:
        self._quantile = quantile
        self.version = 0
        """Changes whenever the curves do."""
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._samples: dict[int, deque[float]] = {}
        self._lows: dict[int, float] = {}
        self._mids: dict[int, float] = {}
        self._counts: dict[int, int] = {}
        self._ratios: deque[float] = deque(maxlen=_RATIOS)
        self._stale: set[int] = set()
        self._total = self._pending = 0
        self._wait = 1
        self.version += 1
        self._upper = self._typical = self._fast = _Curve([], [], (0.0, 0.0), 1.0)

    @property
    def calls(self) -> int:
        """Calls observed."""
        return self._total

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes observed, rising."""
        return tuple(sorted(self._samples))

    def observe(self, size: int, seconds: float) -> None:
        """A call of `size` took `seconds`."""
        samples = self._samples.get(size)
        if samples is None:
            samples = self._samples[size] = deque(maxlen=_WINDOW)
            self._pending = _MOST_BETWEEN_FITS
        samples.append(seconds)
        typical = self._mids.get(size)
        if typical:
            self._ratios.append(seconds / typical)
        self._stale.add(size)
        self._total += 1
        self._pending += 1
        if self._pending >= self._wait:
            self._fit()

    def upper(self, size: int) -> float:
        """Upper quantile of the time that a call of `size` takes; 0 while nothing was measured."""
        return self._upper.at(size)

    def typical(self, size: int) -> float:
        """Median time of a call of `size`; 0 while nothing was measured."""
        return self._typical.at(size)

    def unhindered(self, size: int) -> float:
        """The fastest tenth: what a call costs when nothing else runs; 0 while nothing was measured."""
        return self._fast.at(size)

    def knee(self, tolerance: float = 0.005, calls: int = 3) -> int | None:
        """Smallest measured size within `tolerance` of the best throughput; None while no larger size was measured.

        Counts sizes measured at least `calls` times.
        """
        rates = {n: n / mid for n, mid in self._mids.items() if self._counts[n] >= calls and mid > 0}
        if not rates:
            return None
        floor = (1 - tolerance) * max(rates.values())
        knee = min(n for n, rate in rates.items() if rate >= floor)
        return knee if knee < max(rates) else None

    def _fit(self) -> None:
        for size in self._stale:
            ordered = sorted(self._samples[size])
            self._counts[size] = len(ordered)
            self._lows[size] = ordered[ceil(0.1 * len(ordered)) - 1]
            self._mids[size] = ordered[(len(ordered) - 1) // 2]
        self._stale.clear()
        self._pending, self._wait = 0, min(_MOST_BETWEEN_FITS, max(1, self._total // 8))
        sizes = sorted(self._samples)
        weights = [float(self._counts[n]) for n in sizes]
        mids = [self._mids[n] for n in sizes]
        line = robust_line(sizes, mids, weights)
        spread = _quantile(self._ratios, self._quantile) if self._ratios else 1.0
        self._typical = _Curve(sizes, isotonic(mids, weights), line, 1.0)
        self._upper = _Curve(sizes, isotonic([self._high(n, spread) for n in sizes], weights), line, max(1.0, spread))
        self._fast = _Curve(sizes, isotonic([self._lows[n] for n in sizes], weights), line, 1.0)
        self.version += 1

    def _high(self, size: int, spread: float) -> float:
        high = _quantile(self._samples[size], self._quantile)
        return max(high, self._mids[size] * spread) if self._counts[size] < _FEW else high


class LatencyTables:
    """Tables by (model, bucket); shared by the batchers of one process, filled by profiling at load."""

    def __init__(self, quantile: float = 0.95) -> None:
        self._quantile = quantile
        self._tables: dict[tuple[str, Hashable], LatencyTable] = {}

    def of(self, model: str, bucket: Hashable) -> LatencyTable:
        """The table of a model and a bucket; empty at first."""
        key = (model, bucket)
        if key not in self._tables:
            self._tables[key] = LatencyTable(self._quantile)
        return self._tables[key]

    def forget(self, model: str, bucket: Hashable) -> None:
        """Let go of a table."""
        self._tables.pop((model, bucket), None)


class _Curve:
    """Values at measured sizes, and what is read between and beyond them."""

    __slots__ = ("_known", "_line", "_sizes", "_spread", "_values")

    def __init__(self, sizes: list[int], values: list[float], line: tuple[float, float], spread: float) -> None:
        self._sizes, self._values, self._line, self._spread = sizes, values, line, spread
        self._known = dict(zip(sizes, values, strict=True))

    def at(self, size: int) -> float:
        value = self._known.get(size)
        if value is None:
            value = self._known[size] = self._read(size)
        return value

    def _read(self, size: int) -> float:
        if not self._sizes:
            return 0.0
        place = bisect_left(self._sizes, size)
        if place == len(self._sizes):
            return self._beyond(size)
        return min(self._values[place], max(self._values[place - 1] if place else 0.0, self._straight(size)))

    def _beyond(self, size: int) -> float:
        last, value = self._sizes[-1], self._values[-1]
        if len(self._sizes) == 1:
            return value * size / last
        twice = max(value, self._straight(min(size, 2 * last)))
        return twice * max(1.0, size / (2 * last))

    def _straight(self, size: int) -> float:
        intercept, slope = self._line
        # One measured size says nothing about smaller ones: they count as being as slow.
        return self._values[0] if len(self._sizes) == 1 else (intercept + slope * size) * self._spread


def _quantile(values: deque[float], level: float) -> float:
    return sorted(values)[ceil(level * len(values)) - 1]
