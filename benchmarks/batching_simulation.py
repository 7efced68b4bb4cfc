"""The batcher's core in virtual time: arrivals from a seed, service times from a function, no clock and no thread."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from primum.batching.core import Batcher
from primum.batching.outcome import OutcomeKind
from primum.batching.request import Item


@dataclass(frozen=True)
class Line:
    """Service time base + each * n, in seconds."""

    base: float
    each: float

    def __call__(self, size: int) -> float:
        """Seconds of a batch of `size`."""
        return self.base + self.each * size

    def best_within(self, slo: float, cap: int = 32) -> int:
        """n*: the largest size that twice fits the SLO."""
        return max(n for n in range(1, cap + 1) if 2 * self(n) <= slo)


@dataclass(frozen=True)
class Run:
    """What a simulation gave; seconds."""

    items: list[Item]
    span: float

    @property
    def sojourns(self) -> np.ndarray:
        """Submission to answer of the answered, (N,)."""
        return np.array([i.finished - i.enqueued for i in self.items if i.outcome.kind is OutcomeKind.RESULT])

    @property
    def late(self) -> int:
        """Answered after their deadline."""
        return sum(i.outcome.kind is OutcomeKind.RESULT and i.finished > i.deadline + 1e-9 for i in self.items)

    @property
    def goodput(self) -> float:
        """Answers in time a second."""
        good = sum(i.outcome.kind is OutcomeKind.RESULT and i.finished <= i.deadline + 1e-9 for i in self.items)
        return good / self.span


def poisson(rate: float, n: int, seed: int) -> np.ndarray:
    """Arrival times of a Poisson process, in seconds, (n,)."""
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, n))


def simulate(
    batcher: Batcher,
    arrivals: np.ndarray,
    service: Callable[[int], float],
    slo: float | None = None,
    make: Callable[[int, float], Item] | None = None,
) -> Run:
    """Every arrival through the core, one model call for each batch; `make` makes the request of an index and time."""
    make = make or (lambda i, at: Item(i, deadline=at + slo if slo else inf))
    items = [make(i, at) for i, at in enumerate(arrivals)]
    done: list[tuple[float, int, object]] = []
    place, now, wake = 0, 0.0, None
    while place < len(items) or done or wake is not None:
        arrival = arrivals[place] if place < len(items) else inf
        end = done[0][0] if done else inf
        now = max(now, min(arrival, end, inf if wake is None else wake))
        if end <= now:
            batch = heapq.heappop(done)[2]
            batcher.complete(batch, [item.payload for item in batch.items], now)
        elif arrival <= now:
            batcher.submit(items[place], now)
            place += 1
        while (batch := batcher.next_batch(now)) is not None:
            heapq.heappush(done, (now + service(batch.size), batch.id, batch))
        batcher.take_finished()
        wake = batcher.next_wakeup(now)
    return Run(items, now)


def work_conserving(arrivals: np.ndarray, service: Callable[[int], float], cap: int = 32) -> np.ndarray:
    """Sojourn times, (N,), of the policy that fires when idle and takes all: written on its own, without the core."""
    sojourns = np.empty(len(arrivals))
    free, place = 0.0, 0
    while place < len(arrivals):
        start = max(free, arrivals[place])
        size = min(cap, int(np.searchsorted(arrivals, start, side="right")) - place)
        free = start + service(size)
        sojourns[place : place + size] = free - arrivals[place : place + size]
        place += size
    return sojourns


def inoue(rate: float, line: Line) -> float:
    """Inoue's upper bound on the mean sojourn time of take-all-when-idle without a cap (arXiv 1912.06322), seconds."""
    a, t, r = line.each, line.base, rate
    first = (a + t) / (2 * (1 - r * a)) * (1 + 2 * r * t + (1 - r * t) / (1 + r * a))
    second = 1.5 * t / (1 - r * a) + a / 2 * (r * a + 2) / (1 - (r * a) ** 2)
    return min(first, second)
