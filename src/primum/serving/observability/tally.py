"""How requests ended, as those who sent them count: one each, however many parts they were asked of the batcher in."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from itertools import accumulate

from primum.batching.outcome import KIND_OF, OutcomeKind, Reason
from primum.errors import ExecutorDied, ExecutorHung, InputError, OutputCountError, RequestExpired, RequestRejected

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the seconds that are told apart."""
_ERRORS: tuple[tuple[type[BaseException], Reason], ...] = (
    (asyncio.CancelledError, Reason.BY_CALLER),
    (InputError, Reason.INVALID),
    (ExecutorHung, Reason.EXECUTOR_HUNG),
    (ExecutorDied, Reason.EXECUTOR_DIED),
    (OutputCountError, Reason.OUTPUT_COUNT),
    (MemoryError, Reason.OUT_OF_MEMORY),
)


class Histogram:
    """Of seconds."""

    __slots__ = ("_counts", "sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    @property
    def cumulated(self) -> list[tuple[str, float]]:
        """How many are at most each bound; the last has no bound, and is how many there are."""
        bounds = [*map(str, BOUNDS), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts))))


class Tally:
    """Of one model."""

    def __init__(self) -> None:
        self.ended: Counter[tuple[str, str]] = Counter()
        """By kind of outcome, and why."""
        self.seconds = Histogram()
        """From the request to its answer, of those that were answered."""

    def answered(self, seconds: float) -> None:
        """A request was answered."""
        self.ended[OutcomeKind.RESULT.value, Reason.ANSWERED.value] += 1
        self.seconds.observe(seconds)

    def failed(self, error: BaseException) -> None:
        """A request ended in `error`."""
        if isinstance(error, RequestRejected | RequestExpired):
            kind = OutcomeKind.REJECTED if isinstance(error, RequestRejected) else OutcomeKind.EXPIRED
            self.ended[kind.value, error.reason] += 1
            return
        reason = next((reason for kind, reason in _ERRORS if isinstance(error, kind)), Reason.MODEL_ERROR)
        self.ended[KIND_OF[reason].value, reason.value] += 1


LEFT, ANSWERED, REFUSED, FAILED = "left", "answered", "refused", "failed"
_GRPC_REFUSED = frozenset((3, 5, 6, 7, 8, 9, 11, 12, 16))
"""INVALID_ARGUMENT, NOT_FOUND and others that are the caller's to mend."""
_HTTP = 100
"""The least status of HTTP; gRPC's are below."""


def outcome(status: int) -> str:
    """What a status of HTTP or gRPC says: answered, refused (the caller's to mend), failed, or the caller has left."""
    if status in (1, 499):
        return LEFT
    if status < _HTTP:
        return ANSWERED if status == 0 else REFUSED if status in _GRPC_REFUSED else FAILED
    return ANSWERED if status < 400 else REFUSED if status < 500 else FAILED
