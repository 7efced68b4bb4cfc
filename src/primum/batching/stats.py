"""What happened: counters, gauges and quantiles, as plain data."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, nan

from primum.batching.outcome import FOR_LOAD, KIND_OF, OutcomeKind, Reason
from primum.batching.priority import BACKGROUND, CLASSES, Priority
from primum.batching.release import Failure, Release
from primum.batching.request import Batch, Item

_WINDOW = 1024
_LEVELS = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of the latest values, at most 1024, in seconds: the smallest value with at least that share at or below it."""

    n: int
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Quantiles:
        """NaN where there are none."""
        if not values:
            return cls(0, nan, nan, nan)
        ordered = sorted(values)
        return cls(len(ordered), *(ordered[ceil(level * len(ordered)) - 1] for level in _LEVELS))


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """What was learned of one bucket."""

    bucket: Hashable
    limit: int
    limited_by: Release
    memory_cap: int | None
    """Learned from a call that ran out of memory."""
    target_unattainable: bool
    """One request alone takes more than half the target latency: it cannot bound the size as it should."""
    calls: int
    latency_s: Mapping[int, float]
    """Upper quantile by measured size."""
    overhead_s: float


@dataclass(frozen=True, slots=True)
class BatcherStats:
    """A snapshot."""

    submitted: int
    outcomes: Mapping[OutcomeKind, int]
    reasons: Mapping[Reason, int]
    background: Mapping[Reason, int]
    """Of `reasons`, those of the background class; they do not count in `waits` and `latency`."""
    late: int
    """Results after their deadline."""
    releases: Mapping[Release, int]
    batch_sizes: Mapping[int, int]
    """Batches by size, in rows."""
    failures: Mapping[Failure, int]
    """Calls that failed."""
    queued: Mapping[Priority, int]
    queued_cost: int
    retrying: int
    running: int
    running_batches: int
    waits: Mapping[Priority, Quantiles]
    """From submission to the release of the first batch, of released items."""
    service: Quantiles
    """From release to answer, of batches that succeeded."""
    latency: Quantiles
    """From submission to answer."""
    throughput: float
    """Answers a second between the first submission and the last answer; NaN before the first answer."""
    buckets: tuple[BucketFacts, ...]
    waited_s: float = 0.0
    """From submission to release, of all items released so far together."""
    served_s: float = 0.0
    """In the model, of all batches that succeeded so far together."""
    leaked_executors: int = 0
    """Executors given up for hung calls that have not come back."""
    forgotten_buckets: int = 0
    """Buckets that made room for others: their latency is learned anew where they come again."""

    @property
    def pending(self) -> int:
        """Requests without an outcome."""
        return sum(self.queued.values()) + self.retrying + self.running

    @property
    def mean_batch_size(self) -> float:
        """Rows a call; NaN before the first."""
        calls = sum(self.batch_sizes.values())
        return sum(size * n for size, n in self.batch_sizes.items()) / calls if calls else nan


class Recorder:
    """Counts as things happen."""

    __slots__ = (
        "_first",
        "_last",
        "_waits",
        "background",
        "failures",
        "late",
        "reasons",
        "releases",
        "served_s",
        "service",
        "sizes",
        "sojourns",
        "submitted",
        "turned_away",
        "waited_s",
    )

    def __init__(self) -> None:
        self.submitted = self.late = self.turned_away = 0
        self.reasons: Counter[Reason] = Counter()
        self.background: Counter[Reason] = Counter()
        self.releases: Counter[Release] = Counter()
        self.sizes: Counter[int] = Counter()
        self.failures: Counter[Failure] = Counter()
        self._waits: tuple[deque[float], ...] = tuple(deque(maxlen=_WINDOW) for _ in range(CLASSES))
        self.service: deque[float] = deque(maxlen=_WINDOW)
        self.sojourns: deque[float] = deque(maxlen=_WINDOW)
        self._first = self._last = nan
        self.waited_s = self.served_s = 0.0

    def submitted_at(self, now: float) -> None:
        """A request came."""
        if not self.submitted:
            self._first = now
        self.submitted += 1

    def released(self, batch: Batch, now: float) -> None:
        """A batch goes to an executor."""
        self.releases[batch.reason] += 1
        self.sizes[batch.size] += 1
        again = batch.reason is Release.RETRY
        for item in batch.items:
            item.together = batch.size
            if not again and item.level != BACKGROUND:
                self._waits[item.level].append(now - item.enqueued)
                self.waited_s += now - item.enqueued

    def served(self, elapsed: float, in_model: float) -> None:
        """A batch succeeded, that long after its release; of it the call itself."""
        self.service.append(elapsed)
        self.served_s += in_model

    def finished(self, item: Item, reason: Reason, now: float) -> None:
        """An item has its outcome."""
        self.reasons[reason] += 1
        if item.level == BACKGROUND:
            self.background[reason] += 1
            return
        if reason in FOR_LOAD:
            self.turned_away += 1
        if reason is Reason.ANSWERED:
            self.sojourns.append(now - item.enqueued)
            self._last = now
            if now > item.deadline:
                self.late += 1

    @property
    def throughput(self) -> float:
        """Answers a second; NaN before the first, or where no time has passed."""
        span = self._last - self._first
        return self.reasons[Reason.ANSWERED] / span if span > 0 else nan

    def outcomes(self) -> dict[OutcomeKind, int]:
        """Outcomes by kind."""
        kinds = dict.fromkeys(OutcomeKind, 0)
        for reason, n in self.reasons.items():
            kinds[KIND_OF[reason]] += n
        return kinds

    def waits(self) -> dict[Priority, Quantiles]:
        """Waits by class."""
        return {Priority(level + 1): Quantiles.of(values) for level, values in enumerate(self._waits)}
