"""A batcher in virtual time: a scenario of arrivals, cancellations and faults, with every step open to checks."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from hypothesis import strategies as st

from primum.batching.core import Batcher
from primum.batching.priority import Priority
from primum.batching.release import Failure
from primum.batching.request import Batch, Item
from primum.batching.settings import Settings
from primum.errors import ExecutorDied


@dataclass(frozen=True)
class Arrival:
    """A request of a scenario; times in seconds."""

    gap: float
    bucket: str = "a"
    cost: int = 1
    priority: Priority = Priority.ROUTINE
    slack: float | None = None
    poison: bool = False
    lethal: bool = False
    """Ends the process that runs it."""
    cancel_after: float | None = None


@dataclass
class World:
    """Runs a scenario. `checks` are called after every step with the world itself, `releases` with each new batch."""

    arrivals: list[Arrival]
    settings: Settings = field(default_factory=Settings)
    base: float = 0.005
    each: float = 0.001
    memory_holds: int = 10**9
    drain_at: int | None = None
    """Index of the arrival before which draining begins."""
    kills: frozenset[int] = frozenset()
    """Numbers of the batches whose process is killed from outside."""
    known: bool = False
    """The latency table is filled beforehand."""
    checks: tuple[Callable[[World], None], ...] = ()
    releases: tuple[Callable[[World, Batch], None], ...] = ()
    now: float = 0.0
    items: list[Item] = field(default_factory=list)
    batches: list[tuple[float, str, int, tuple[Any, ...]]] = field(default_factory=list)
    ended: list[tuple[float, Item]] = field(default_factory=list)

    def service(self, size: int) -> float:
        return self.base + self.each * size

    def run(self) -> World:
        self.core = core = Batcher(self.settings)
        if self.known:
            for bucket in {a.bucket for a in self.arrivals}:
                for size in range(1, self.settings.max_batch_size + 1):
                    core.plan(bucket).table.observe(size, self.service(size))
        events: list[tuple[float, int, str, Any]] = []
        at, order = 0.0, 0
        for k, arrival in enumerate(self.arrivals):
            at += arrival.gap
            heapq.heappush(events, (at, order := order + 1, "submit", (k, arrival)))
        wake: float | None = None
        steps = 0
        while events or wake is not None:
            steps += 1
            assert steps < 50 * len(self.arrivals) + 500, "the batcher never comes to rest"
            if wake is not None and (not events or wake < events[0][0]):
                self.now = max(self.now, wake)
            else:
                self.now, _, kind, what = heapq.heappop(events)
                for new in self._happen(kind, what):
                    heapq.heappush(events, (new[0], order := order + 1, new[1], new[2]))
            while (batch := core.next_batch(self.now)) is not None:
                self.batches.append((self.now, batch.reason.value, batch.size, tuple(i.id for i in batch.items)))
                for check in self.releases:
                    check(self, batch)
                end = self.now + self.service(batch.size)
                heapq.heappush(events, (end, order := order + 1, "return", batch))
            self.ended += [(self.now, item) for item in core.take_finished()]
            for check in self.checks:
                check(self)
            wake = core.next_wakeup(self.now)
        return self

    def _happen(self, kind: str, what: Any) -> list[tuple[float, str, Any]]:
        if kind == "return":
            self._return(what)
        elif kind == "cancel":
            self.core.cancel(what, self.now)
        else:
            k, arrival = what
            if self.drain_at == k:
                self.core.drain()
            deadline = inf if arrival.slack is None else self.now + arrival.slack
            item = Item(
                k,
                (k, arrival.poison),
                bucket=arrival.bucket,
                cost=arrival.cost,
                priority=arrival.priority,
                deadline=deadline,
            )
            self.items.append(item)
            self.core.submit(item, self.now)
            if arrival.cancel_after is not None:
                return [(self.now + arrival.cancel_after, "cancel", item)]
        return []

    def _return(self, batch: Batch) -> None:
        if batch.id in self.kills or any(self.arrivals[item.id].lethal for item in batch.items):
            self.core.fail(batch, ExecutorDied("signal SIGKILL"), self.now, Failure.DIED)
        elif batch.size > self.memory_holds:
            self.core.fail(batch, MemoryError(), self.now, Failure.OUT_OF_MEMORY)
        elif any(item.payload[1] for item in batch.items):
            self.core.fail(batch, ValueError("a bad input"), self.now)
        else:
            self.core.complete(batch, [oracle(item.payload) for item in batch.items], self.now)

    @property
    def waiting(self) -> list[Item]:
        return [item for item in self.items if item.state == 1]


def oracle(payload: tuple[int, bool]) -> int:
    """The model with one input at a time."""
    return 3 * payload[0] + 1


def arrivals(
    deadlines: bool = True,
    costs: bool = True,
    classes: bool = True,
    buckets: bool = True,
    poison: bool = False,
    lethal: bool = False,
    cancels: bool = True,
) -> st.SearchStrategy[list[Arrival]]:
    """Lists of arrivals; what is switched off is left at its default."""
    slack = st.none() | st.sampled_from([0.008, 0.012, 0.02, 0.05]) | st.floats(0.001, 0.2)
    one = st.builds(
        Arrival,
        gap=st.sampled_from([0.0, 0.0, 0.0, 0.0, 0.0005, 0.002, 0.01, 0.05]),
        bucket=st.sampled_from("ab") if buckets else st.just("a"),
        cost=st.integers(1, 5) if costs else st.just(1),
        priority=st.sampled_from(list(Priority)) if classes else st.just(Priority.ROUTINE),
        slack=slack if deadlines else st.none(),
        poison=st.sampled_from([False, False, False, True]) if poison else st.just(False),
        lethal=st.sampled_from([False] * 7 + [True]) if lethal else st.just(False),
        cancel_after=(st.none() | st.none() | st.floats(0.0, 0.05)) if cancels else st.none(),
    )
    return st.lists(one, min_size=1, max_size=60) | st.lists(one, min_size=25, max_size=60)


def settings(**fixed: Any) -> st.SearchStrategy[Settings]:
    """Settings of every strategy, small enough to fill."""
    from primum.config.batching import BatchStrategy

    parts: dict[str, st.SearchStrategy[Any]] = {
        "strategy": st.sampled_from([BatchStrategy.TAKE_ALL, BatchStrategy.TIMEOUT, BatchStrategy.LATENCY_AWARE]),
        "max_batch_size": st.sampled_from([2, 5, 32]),
        "executors": st.sampled_from([1, 1, 2]),
        "window_s": st.just(0.01),
        "target_s": st.sampled_from([None, 0.03, 0.1]),
        "max_queue_size": st.sampled_from([6, 64]),
        "starvation_age_s": st.sampled_from([0.005, 0.05]),
        "starvation_quota": st.integers(1, 4),
        "tick_s": st.just(1e-6),
    }
    return st.builds(Settings, **parts | {name: st.just(value) for name, value in fixed.items()})
