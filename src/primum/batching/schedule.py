"""What runs next: strict classes, parts of failed batches first inside a class, and a quota for who waits too long."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import inf
from typing import NamedTuple

from primum.batching.forming import Forming
from primum.batching.outcome import Outcome, Reason
from primum.batching.policy import BucketPlan
from primum.batching.priority import BACKGROUND
from primum.batching.queue import Queue
from primum.batching.recovery import Retries
from primum.batching.release import Release
from primum.batching.request import Item, ItemState
from primum.batching.settings import Settings
from primum.config.batching import BatchStrategy

End = Callable[[Item, Outcome, float], None]


class Choice(NamedTuple):
    """Items that leave for an executor together."""

    items: list[Item]
    size: int
    reason: Release


class Schedule:
    """Chooses among what waits. Items that it gives up are ended through `end`."""

    __slots__ = (
        "_end",
        "_expected",
        "_passed_over",
        "_plan",
        "_queue",
        "_retries",
        "_settings",
        "draining",
        "freed",
        "held",
    )

    def __init__(
        self, settings: Settings, queue: Queue, retries: Retries, plan: Callable[[Hashable], BucketPlan], end: End
    ) -> None:
        self._settings, self._queue, self._retries, self._plan, self._end = settings, queue, retries, plan, end
        self._expected: dict[Hashable, int] = {}
        self._passed_over = 0
        self.draining = False
        self.freed = -inf
        """When an executor last became free."""
        self.held: dict[Hashable, float] = {}
        """Buckets that are held, and until when."""

    def expect(self, bucket: Hashable) -> None:
        """A request of `bucket` is being decoded."""
        self._expected[bucket] = self._expected.get(bucket, 0) + 1

    def settle(self, bucket: Hashable) -> None:
        """A request that was expected has come, or never will."""
        left = self._expected.get(bucket, 0) - 1
        if left > 0:
            self._expected[bucket] = left
        else:
            self._expected.pop(bucket, None)

    def choose(self, now: float) -> Choice | None:
        """The next items for a free executor; they have left their queue. None where nothing is ready.

        Notes in `held`, emptied before, what it holds.
        """
        if self._queue.count == 1 and not self._retries.count:
            choice = self._lone(now)
            if choice is not None:
                return choice
        starving = self._starving(now)
        queued = starving if starving is not None and starving.state is ItemState.QUEUED else None
        choice = self._quota(starving, now) or self._by_class(queued, now)
        if choice is not None and starving is not None:
            self._passed_over = 0 if starving.state is ItemState.RUNNING else self._passed_over + 1
        return choice

    def _lone(self, now: float) -> Choice | None:
        """The short way for the only request there is; None where it may have to be held, or cannot be in time."""
        item = self._queue.oldest()
        if item is None or self._may_hold(item.bucket):
            return None
        plan = self._plan(item.bucket)
        if item.deadline < inf and now + self._alone(item) > item.deadline:
            return None
        self._queue.remove(item, ItemState.RUNNING)
        item.started = now
        if item.probe:
            return Choice([item], item.cost, Release.PROBE)
        limit = plan.limit()
        if item.cost >= limit.size:
            return Choice([item], item.cost, limit.reason)
        return Choice([item], item.cost, self._unhurried(item))

    def expire(self, now: float) -> None:
        """End those whom even a batch of their own would answer late."""
        for lines in self._queue.lines:
            for bucket in list(lines):
                while bucket in lines and now + self._alone(head := lines[bucket].head()) > head.deadline:
                    self._end(head, Outcome(Reason.DEADLINE_PASSED), now)
                    self._queue.sweep(bucket)
        if self._retries.count:
            for item in [item for item in self._retries if now + self._alone(item) > item.deadline]:
                self._end(item, Outcome(Reason.DEADLINE_PASSED), now)

    def next_expiry(self) -> float:
        """When `expire` will have something to do, and a timer has surely fired; infinite where never."""
        waiting: list[Item] = []
        if self._queue.with_deadline:
            waiting.extend(line.head() for lines in self._queue.lines for line in lines.values())
        if self._retries.count:
            waiting.extend(self._retries)
        return min((item.deadline - self._alone(item) + self._settings.tick_s for item in waiting), default=inf)

    def _alone(self, item: Item) -> float:
        return 0.0 if item.probe else self._plan(item.bucket).seconds(item.cost)

    def _starving(self, now: float) -> Item | None:
        """Who has waited longest, where that is too long: parts of failed batches before the queue."""
        group = self._retries.oldest() if self._retries.count else None
        oldest = group[0] if group else self._queue.oldest()
        return oldest if oldest is not None and now - oldest.enqueued >= self._settings.starvation_age_s else None

    def _quota(self, starving: Item | None, now: float) -> Choice | None:
        if starving is None or self._passed_over + 1 < self._settings.starvation_quota:
            return None
        if starving.state is ItemState.RETRYING:
            group = self._retries.oldest()
            return self._again(group, now) if group else None
        return self._form(starving.bucket, now, starving, lead=starving)

    def _by_class(self, starving: Item | None, now: float) -> Choice | None:
        for level in range(BACKGROUND):
            while (group := self._retries.first(level)) is not None:
                choice = self._again(group, now)
                if choice is not None:
                    return choice
            if self._queue.count_of[level]:
                for head in self._queue.heads(level):
                    choice = None if head.bucket in self.held else self._form(head.bucket, now, starving)
                    if choice is not None:
                        return choice
        return None

    def background(self, now: float) -> Choice | None:
        """A request of the background class, alone: whoever comes meanwhile waits for a call of one request at most."""
        if (group := self._retries.first(BACKGROUND)) is not None:
            return self._again(group, now)
        if not self._queue.count_of[BACKGROUND]:
            return None
        item = self._queue.heads(BACKGROUND)[0]
        self._queue.remove(item, ItemState.RUNNING)
        item.started = now
        self._queue.sweep(item.bucket)
        return Choice([item], item.cost, Release.PROBE if item.probe else Release.BACKGROUND)

    def _again(self, group: list[Item], now: float) -> Choice | None:
        """A part of a failed batch; None where it is taken apart instead.

        That is where it is larger than the memory cap learned meanwhile, and where its size would make a member late.
        """
        self._retries.take(group)
        plan = self._plan(group[0].bucket)
        size = sum(item.cost for item in group)
        if len(group) > 1 and plan.memory_cap is not None and size > plan.memory_cap:
            self._retries.split(group)
            return None
        late = now + plan.seconds(size)
        if len(group) > 1 and any(late > item.deadline for item in group):
            self._retries.first_of_all([[item] for item in sorted(group, key=lambda item: item.deadline)])
            return None
        for item in group:
            item.state = ItemState.RUNNING
        return Choice(group, size, Release.RETRY)

    def _form(self, bucket: Hashable, now: float, starving: Item | None, lead: Item | None = None) -> Choice | None:
        queue = self._queue
        forming = Forming(queue, self._plan(bucket), bucket, now, starving)
        forming.fill(lead)
        for item, why in forming.dropped:
            self._end(item, Outcome(why), now)
        items = forming.items
        hold = self._hold(forming, bucket) if items and lead is None else None
        if items and (hold is None or now >= hold):
            for item in items:
                queue.remove(item, ItemState.RUNNING)
                item.started = now
            queue.sweep(bucket)
            led = lead is not None and lead is items[0]
            return Choice(items, forming.size, Release.STARVATION if led else self._why(forming, hold))
        if hold is not None:
            self.held[bucket] = hold
        queue.sweep(bucket)
        return None

    def _hold(self, forming: Forming, bucket: Hashable) -> float | None:
        """Until when to hold an incomplete batch; None where it is not held at all."""
        settings = self._settings
        if forming.complete or not self._may_hold(bucket):
            return None
        last = forming.due - self._plan(bucket).seconds(forming.limit.size) - settings.tick_s
        return min(forming.oldest + settings.window_s, last)

    def _may_hold(self, bucket: Hashable) -> bool:
        if self.draining:
            return False
        return self._settings.strategy is BatchStrategy.TIMEOUT or bucket in self._expected

    def _why(self, forming: Forming, hold: float | None) -> Release:
        if forming.reason is not None:
            return forming.reason
        if forming.complete:
            return forming.limit.reason
        if hold is not None:
            in_time = hold >= forming.oldest + self._settings.window_s
            return Release.WINDOW if in_time else Release.DEADLINE
        return self._unhurried(forming.items[0])

    def _unhurried(self, first: Item) -> Release:
        """Why a batch left that took all that waited."""
        if self.draining:
            return Release.DRAIN
        return Release.IDLE if first.enqueued >= self.freed else Release.EXECUTOR_FREE
