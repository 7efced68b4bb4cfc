"""Who may join the queue: what is predicted of a request, and who makes room for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from math import inf
from typing import NamedTuple

from primum.batching.policy import BucketPlan
from primum.batching.priority import BACKGROUND
from primum.batching.queue import Queue
from primum.batching.recovery import Retries
from primum.batching.request import Batch, Item


class Backlog(NamedTuple):
    """How much is asked of a model."""

    seconds: float
    """Until all that waits would have left, as predicted; the background apart."""
    turned_away: int
    """Requests refused, evicted or expired for load so far; the background apart."""


class Admission:
    """Predicts when a request would be answered, counting only the work ahead of it."""

    __slots__ = ("_executors", "_plan_of", "_queue", "_retries")

    def __init__(
        self, queue: Queue, retries: Retries, plan_of: Callable[[Hashable], BucketPlan], executors: int
    ) -> None:
        self._queue, self._retries, self._plan_of, self._executors = queue, retries, plan_of, executors

    def until_answered(self, item: Item, plan: BucketPlan, running: Iterable[Batch], now: float) -> float:
        """Seconds until `item` would be answered: the running call, full batches of those ahead, and its own batch.

        Its own batch holds at least those ahead that do not fill one. Later arrivals of its class do not count.
        """
        most = plan.limit().size
        ahead, seconds = self._ahead(item)
        full, rest = divmod(ahead, most)
        own = rest + item.cost
        if own > most:
            full, own = full + 1, item.cost
        seconds += full * plan.seconds(most)
        return self._busy(running, now) + seconds / self._executors + plan.seconds(int(own))

    def until_cleared(self, running: Iterable[Batch], now: float) -> float:
        """Seconds until all that waits would have left; the background apart, which nobody waits for."""
        lines = [each for by_bucket in self._queue.lines[:BACKGROUND] for each in by_bucket.items()]
        seconds = sum(self._work(bucket, line.cost) for bucket, line in lines)
        if self._retries.count:
            seconds += sum(self._plan_of(bucket).seconds(size) for bucket, size in self._retries.costs(BACKGROUND))
        return self._busy(running, now) + seconds / self._executors

    def victims(self, item: Item, bound: int) -> list[Item] | None:
        """Items of lower classes whose leaving makes room for `item`, lowest class and latest deadline first.

        None where even all of them would not make room.
        """
        needed = self._queue.cost + item.cost - bound
        if needed > sum(self._queue.cost_of[item.level + 1 :]):
            return None
        victims = []
        for victim in self._queue.last_first(item.level):
            if needed <= 0:
                break
            victims.append(victim)
            needed -= victim.cost
        return victims

    def _ahead(self, item: Item) -> tuple[float, float]:
        """Cost ahead in its own bucket, and seconds of what is ahead in others."""
        cost, seconds = 0.0, 0.0
        for level in range(item.level + 1):
            for bucket, line in self._queue.lines[level].items():
                before = line.cost if level < item.level else line.cost_before(item.deadline)
                if bucket == item.bucket:
                    cost += before
                else:
                    seconds += self._work(bucket, before)
        if self._retries.count:
            seconds += sum(self._plan_of(bucket).seconds(size) for bucket, size in self._retries.costs(item.level))
        return cost, seconds

    def _work(self, bucket: Hashable, cost: float) -> float:
        plan = self._plan_of(bucket)
        most = plan.limit().size
        return cost / most * plan.seconds(most)

    def _busy(self, running: Iterable[Batch], now: float) -> float:
        ends = [batch.expected_end for batch in running]
        return max(0.0, min(ends, default=inf) - now) if len(ends) >= self._executors else 0.0
