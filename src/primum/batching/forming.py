"""Which of the waiting go into the next batch of a bucket, and who is given up so that the others are in time."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from math import inf

from primum.batching.outcome import Reason
from primum.batching.policy import BucketPlan
from primum.batching.priority import BACKGROUND
from primum.batching.queue import Line, Queue
from primum.batching.release import Release
from primum.batching.request import Item


class Forming:
    """One attempt to form a batch. `items` is what it would hold, `dropped` whom it gives up; nobody has left yet.

    Higher classes join first, inside a class the starving request and then the earliest deadlines. It stops at the
    plan's limit, or where one more would make a member late. Then a smaller batch is released, unless that makes the
    next of the same class late even in a batch of its own: under overload each batch would be smaller than the one
    before, and nearly all answers late. So the member whose deadline shrinks the batch is given up instead. A class is
    never shrunk for a lower one: a lower class only fills what time is left.
    """

    __slots__ = (
        "_bucket",
        "_lead_level",
        "_most",
        "_now",
        "_plan",
        "_queue",
        "_starving",
        "dropped",
        "due",
        "items",
        "limit",
        "reason",
        "size",
    )

    def __init__(self, queue: Queue, plan: BucketPlan, bucket: Hashable, now: float, starving: Item | None) -> None:
        self._queue, self._plan, self._bucket, self._now = queue, plan, bucket, now
        self._starving = starving if starving is not None and starving.bucket == bucket else None
        self.limit = plan.limit()
        self._most = plan.next_limit()
        self._lead_level = -1
        self.items: list[Item] = []
        self.dropped: list[tuple[Item, Reason]] = []
        self.size = 0
        self.due = inf
        """Earliest deadline among the members."""
        self.reason: Release | None = None
        """What stopped it; None where all that waited has joined."""

    def fill(self, lead: Item | None = None) -> None:
        """Take from every class of the bucket, after `lead` where one is given; the background never joins."""
        if lead is not None:
            self._offer(lead, None)
        for level in range(BACKGROUND):
            line = self._queue.lines[level].get(self._bucket)
            if line is not None and not self._from_line(line, self._in_order(line, level, lead)):
                return

    @property
    def complete(self) -> bool:
        """Nobody else could join."""
        return self.reason is not None or self.size >= self.limit.size

    @property
    def oldest(self) -> float:
        """When its oldest member was submitted."""
        return min(item.enqueued for item in self.items)

    def _from_line(self, line: Line, items: Iterable[Item]) -> bool:
        """Offer items in order; whether there may be room for more."""
        if not self._queue.with_deadline:
            return self._take(items)
        return all(self._offer(item, line) for item in items)

    def _take(self, items: Iterable[Item]) -> bool:
        """As `_offer` for each, where nobody has a deadline."""
        mine, size, most = self.items, self.size, self._most.size
        for item in items:
            if size + item.cost > most and mine:
                self.size, self.reason = size, self._most.reason
                return False
            size += item.cost
            mine.append(item)
        self.size = size
        return True

    def _in_order(self, line: Line, level: int, lead: Item | None) -> Iterable[Item]:
        starving = self._starving
        if starving is None or starving.level != level:
            return line
        others = [item for item in line if item is not starving]
        return others if starving is lead else [starving, *others]

    def _offer(self, item: Item, line: Line | None) -> bool:
        """Take `item` where it fits; whether there may be room for another."""
        now, plan = self._now, self._plan
        while True:
            size = self.size + item.cost
            if self.items and (size > self._most.size or item.probe):
                self.reason = Release.PROBE if item.probe else self._most.reason
                return False
            late = now + plan.seconds(size)
            if item.probe:
                self._join(item, size)
                self.reason = Release.PROBE
                return False
            if late <= self.due and late <= item.deadline:
                self._join(item, size)
                return True
            if now + plan.seconds(item.cost) > item.deadline:
                self.dropped.append((item, Reason.DEADLINE_PASSED))
                return True
            # A filler of a lower class waits for a batch that leaves it time; another may still fit this one.
            filler = line is None or item.level != self._lead_level
            if filler and late <= self.due:
                return True
            if filler or not self._give_up_for(item, line):
                self.reason = Release.DEADLINE
                return False

    def _join(self, item: Item, size: int) -> None:
        if not self.items:
            self._lead_level = item.level
        self.items.append(item)
        self.size = size
        if item.deadline < self.due:
            self.due = item.deadline

    def _give_up_for(self, item: Item, line: Line | None) -> bool:
        """Give up the member with the earliest deadline, where releasing without `item` would make `item` late."""
        most = self.limit.size
        if line is None or self.size + item.cost > most:
            return False
        left = min(most, max(item.cost, line.cost - self.size))
        if self._now + self._plan.seconds(self.size) + self._plan.seconds(left) <= item.deadline:
            return False
        victim = min(self.items, key=lambda member: member.deadline)
        if victim.deadline >= item.deadline:
            return False
        self.items.remove(victim)
        self.dropped.append((victim, Reason.DROPPED_EARLY))
        self.size -= victim.cost
        self.due = min((member.deadline for member in self.items), default=inf)
        return True
