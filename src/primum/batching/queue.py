"""Who waits, in which order: strict classes, earliest deadline inside a class, first come first served inside that."""

from __future__ import annotations

from bisect import bisect_right, insort_right
from collections import deque
from collections.abc import Hashable, Iterator
from heapq import merge
from operator import attrgetter

from primum.batching.priority import BACKGROUND, CLASSES, Priority
from primum.batching.request import Item, ItemState

_deadline = attrgetter("deadline")
_QUEUED = ItemState.QUEUED
_NEVER = float("inf")
_SLACK = 32
"""Items that left may stay in a list until they are this many and half of it."""


class Line:
    """Items of one class and bucket by deadline, ties in order of arrival. Items that left are skipped, then swept."""

    __slots__ = ("_items", "cost", "count")

    def __init__(self) -> None:
        self._items: list[Item] = []
        self.cost = self.count = 0

    def push(self, item: Item) -> None:
        """Take an item in."""
        items = self._items
        if not items or items[-1].deadline <= item.deadline:
            items.append(item)
        else:
            insort_right(items, item, key=_deadline)
        self.cost += item.cost
        self.count += 1

    def left(self, item: Item) -> None:
        """`item`, no longer queued, has left this line."""
        self.cost -= item.cost
        self.count -= 1

    def sweep(self) -> None:
        """Forget items that left: those in front, and all once they are many."""
        items = self._items
        gone = 0
        for item in items:
            if item.state is _QUEUED:
                break
            gone += 1
        if gone:
            del items[:gone]
        if len(items) - self.count > max(_SLACK, self.count):
            self._items = [item for item in items if item.state is _QUEUED]

    def head(self) -> Item:
        """The next item; the line must not be empty."""
        for item in self._items:
            if item.state is _QUEUED:
                return item
        raise IndexError("an empty line has no head")

    def cost_before(self, deadline: float) -> float:
        """Cost of the items that go before a newcomer with this deadline, items of unequal cost taken as average."""
        if not self.count or self._items[-1].deadline <= deadline:
            return self.cost
        place = bisect_right(self._items, deadline, key=_deadline)
        return self.cost * place / len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return (item for item in self._items if item.state is _QUEUED)


class Queue:
    """All lines, by class and bucket, bounded in cost units by who fills it."""

    __slots__ = ("_arrivals", "cost", "cost_of", "count", "count_of", "lines", "with_deadline")

    def __init__(self) -> None:
        self.lines: tuple[dict[Hashable, Line], ...] = tuple({} for _ in range(CLASSES))
        self._arrivals: deque[Item] = deque()
        self.cost = self.count = 0
        self.cost_of = [0] * CLASSES
        self.count_of = [0] * CLASSES
        self.with_deadline = 0
        """Queued items that have a deadline."""

    def by_class(self) -> dict[Priority, int]:
        """Items that wait, by class."""
        return {Priority(level + 1): count for level, count in enumerate(self.count_of)}

    def push(self, item: Item) -> None:
        """Take an item in; its state becomes queued."""
        item.state = _QUEUED
        level = item.level
        line = self.lines[level].get(item.bucket)
        if line is None:
            line = self.lines[level][item.bucket] = Line()
        line.push(item)
        if level != BACKGROUND:
            self._arrivals.append(item)
        self.cost += item.cost
        self.count += 1
        self.cost_of[level] += item.cost
        self.count_of[level] += 1
        if item.deadline < _NEVER:
            self.with_deadline += 1

    def remove(self, item: Item, state: ItemState) -> None:
        """`item` leaves for `state`."""
        item.state = state
        level = item.level
        line = self.lines[level][item.bucket]
        line.left(item)
        self.cost -= item.cost
        self.count -= 1
        self.cost_of[level] -= item.cost
        self.count_of[level] -= 1
        if item.deadline < _NEVER:
            self.with_deadline -= 1
        if not line.count:
            del self.lines[level][item.bucket]
        if not self.cost:
            self._arrivals.clear()

    def sweep(self, bucket: Hashable) -> None:
        """Forget the items of a bucket that left."""
        for lines in self.lines:
            line = lines.get(bucket)
            if line is not None:
                line.sweep()

    def oldest(self) -> Item | None:
        """The item that has waited longest, of any class but the background."""
        arrivals = self._arrivals
        while arrivals and arrivals[0].state is not _QUEUED:
            arrivals.popleft()
        if len(arrivals) > 2 * self.count + _SLACK:
            self._arrivals = arrivals = deque(item for item in arrivals if item.state is _QUEUED)
        return arrivals[0] if arrivals else None

    def heads(self, level: int) -> list[Item]:
        """The head of each bucket of a class, earliest deadline first, then first come."""
        lines = self.lines[level]
        if len(lines) == 1:
            return [line.head() for line in lines.values()]
        return sorted((line.head() for line in lines.values()), key=lambda item: (item.deadline, item.enqueued))

    def last_first(self, below: int) -> Iterator[Item]:
        """Whom to turn away for a newcomer of class `below`: lowest class first, in a class the latest deadline."""
        for level in range(CLASSES - 1, below, -1):
            lines = [reversed(list(line)) for line in self.lines[level].values()]
            yield from merge(*lines, key=_deadline, reverse=True)
