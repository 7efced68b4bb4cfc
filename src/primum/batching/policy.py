"""How large a batch of one bucket may be, and how long it takes: the strategies, over what was learned."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from primum.batching.latency import LatencyTable
from primum.batching.memory import MemoryModel
from primum.batching.memory_cap import MemoryCap
from primum.batching.release import Release
from primum.batching.settings import Settings
from primum.config.batching import BatchStrategy

_BY_LATENCY = (BatchStrategy.LATENCY_AWARE, BatchStrategy.MEMORY_AWARE)
_KNEE_FROM_S = 1e-3
"""For shorter calls what surrounds a call costs more than a smaller batch saves."""
_LOOK_BEYOND = 64
"""One in this many batches goes past a learned limit, so that what was learned of larger sizes does not go stale."""
_PROBE_EVERY_S = 0.1
_OVERHEAD_STEP_S = 1e-3
"""A smaller difference waits for the next change of the latency table before it moves the limit."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest size of a batch, and what sets it."""

    size: int
    reason: Release


class BucketPlan:
    """What is known of one bucket of one model."""

    __slots__ = ("_cap", "_last", "_limit", "_limited", "_settings", "_version", "memory", "overhead", "table")

    def __init__(self, settings: Settings, table: LatencyTable) -> None:
        self._settings, self.table = settings, table
        self.memory = MemoryModel()
        self._cap = MemoryCap()
        self.overhead = 0.0
        """Upper estimate of what passes between release and answer besides the call, in seconds."""
        self._limit = Limit(1, Release.FULL)
        self._limited = 0
        self._version = -1
        self._last = -inf

    @property
    def memory_cap(self) -> int | None:
        """Learned from calls that ran out of memory; None while none did."""
        return self._cap.size

    def seconds(self, size: int) -> float:
        """From release to answer of a batch of `size`: upper quantile; 0 while nothing was measured."""
        return self.table.upper(size) + self.overhead

    def capacity(self) -> float:
        """Rows a second that one executor answers in batches of the largest size; infinite while nothing was measured.

        By the upper quantile, so that what is promised is kept.
        """
        size = self.limit().size
        seconds = self.seconds(size)
        return size / seconds if seconds > 0 else inf

    def limit(self) -> Limit:
        """The largest size now: of all bounds the tightest."""
        if self._version != self.table.version:
            self._version = self.table.version
            self._limit = self._tightest(by_latency=True)
        return self._limit

    def next_limit(self) -> Limit:
        """As `limit`, for a batch that is being formed: now and then it looks beyond what latency alone sets."""
        limit = self.limit()
        if limit.reason not in (Release.THROUGHPUT, Release.TARGET):
            return limit
        self._limited += 1
        if self._limited % _LOOK_BEYOND:
            return limit
        hard = self._tightest(by_latency=False)
        return min(hard, Limit(limit.size + max(1, limit.size // 4), limit.reason), key=lambda bound: bound.size)

    def probe_due(self, now: float) -> bool:
        """Whether for a tenth of a second nothing was answered and nothing probed; counts as a probe where it is due.

        Without it one slow call could stand for ever: everything would be refused for it, and nothing learned.
        """
        if now - self._last < _PROBE_EVERY_S:
            return False
        self._last = now
        return True

    def answered(self, size: int, elapsed: float, call: float, now: float) -> None:
        """A batch was answered `elapsed` seconds after its release, `call` of them in the model.

        The estimate of the difference climbs fast and falls slowly, so that it stays above most of what is seen.
        """
        self._last = now
        self.table.observe(size, call)
        if self._cap.answered(size, now):
            self._version = -1
        miss = elapsed - call - self.overhead
        if miss:
            self.overhead = max(0.0, self.overhead + miss * (0.25 if miss > 0 else 0.0125))
            if abs(miss) > _OVERHEAD_STEP_S:
                self._version = -1

    def start_over(self) -> None:
        """Forget every time learned: a probe has shown that it no longer holds."""
        self.table.clear()
        self.overhead = 0.0

    def ran_out_of_memory(self, size: int) -> None:
        """A call of `size` ran out of memory: half of it from now on, until MemoryCap tries more again."""
        self._cap.ran_out(size)
        self._version = -1

    def took_memory(self, size: int, taken: float) -> None:
        """A call of `size` took `taken` bytes at its peak."""
        self.memory.observe(size, taken)
        self._version = -1

    @property
    def target_unattainable(self) -> bool:
        """Whether one request alone takes longer than half the target latency: the target cannot bound sizes."""
        target = self._settings.target_s
        return target is not None and 2 * self.seconds(1) > target

    def _tightest(self, by_latency: bool) -> Limit:
        settings = self._settings
        limits = [Limit(settings.max_batch_size, Release.FULL)]
        if self.memory_cap is not None:
            limits.append(Limit(self.memory_cap, Release.MEMORY))
        if settings.strategy is BatchStrategy.MEMORY_AWARE and settings.memory_limit_bytes is not None:
            fits = self.memory.largest(settings.memory_limit_bytes, settings.max_batch_size)
            limits.append(Limit(fits, Release.MEMORY))
        if by_latency and settings.strategy in _BY_LATENCY:
            if settings.target_s is not None:
                limits.append(Limit(self._within(settings.target_s), Release.TARGET))
            gains = self.table.knee()
            if gains is not None and self.seconds(gains) >= _KNEE_FROM_S:
                limits.append(Limit(gains, Release.THROUGHPUT))
        return min(limits, key=lambda limit: limit.size)

    def _within(self, target: float) -> int:
        """The largest size that twice fits the target: a request may wait for one batch and is served by the next.

        Where not even one request does, the largest that once fits it; where none does, no bound. While all measured
        sizes fit, up to twice the largest of them is tried: the target is soft, and extrapolation is careful.
        """
        share = 2 if not self.target_unattainable else 1
        if share * self.seconds(1) > target:
            return self._settings.max_batch_size
        low, high = 1, self._settings.max_batch_size
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if share * self.seconds(middle) <= target else (low, middle - 1)
        largest = max(self.table.sizes, default=0)
        if share * self.seconds(largest) <= target:
            return min(self._settings.max_batch_size, max(low, 2 * largest))
        return low
