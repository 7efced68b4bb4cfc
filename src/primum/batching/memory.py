"""How much memory a call of each size takes, and the largest size that fits a limit."""

from __future__ import annotations


class MemoryModel:
    """Bytes by batch size of one bucket: the larger of a line through what was measured and what a size itself took."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes: dict[int, float] = {}

    def observe(self, size: int, taken: float) -> None:
        """A call of `size` took `taken` bytes at its peak."""
        self._bytes[size] = max(taken, self._bytes.get(size, 0.0))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes measured, rising."""
        return tuple(sorted(self._bytes))

    def expected(self, size: int) -> float:
        """Bytes of a call of `size`; 0 while nothing was measured.

        At most twice the largest measured size is read off the line between it and the smallest; with one measured
        size, or beyond, bytes grow in proportion.
        """
        if not self._bytes:
            return 0.0
        largest, smallest = max(self._bytes), min(self._bytes)
        # Less memory for more rows is noise of the probe: the curve never falls.
        floor = max(taken for n, taken in self._bytes.items() if n <= max(size, smallest))
        top = max(self._bytes.values())
        if size <= largest:
            return floor if smallest == largest else max(floor, self._straight(size, smallest, largest, top))
        if smallest == largest:
            return top * size / largest
        reach = min(size, 2 * largest)
        return max(top, self._straight(reach, smallest, largest, top)) * size / reach

    def largest(self, limit: float, most: int) -> int:
        """The largest size up to `most` expected to take at most `limit` bytes.

        1 before any measurement, then at most twice the largest measured size.
        """
        if not self._bytes:
            return 1
        low, high = 1, min(most, 2 * max(self._bytes))
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.expected(middle) <= limit else (low, middle - 1)
        return low

    def _straight(self, size: int, smallest: int, largest: int, top: float) -> float:
        first = self._bytes[smallest]
        return first + (top - first) * (size - smallest) / (largest - smallest)
