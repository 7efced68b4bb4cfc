"""One request on its way through the batcher, and the batch that it joins."""

from __future__ import annotations

from collections.abc import Hashable
from enum import IntEnum
from math import inf
from typing import TYPE_CHECKING, Any

from primum.batching.priority import Priority

if TYPE_CHECKING:
    from primum.batching.outcome import Outcome
    from primum.batching.release import Release


class ItemState(IntEnum):
    """Where an item is."""

    NEW = 0
    QUEUED = 1
    RUNNING = 2
    RETRYING = 3
    """Taken from a failed batch, waiting to run again."""
    DONE = 4


class Item:
    """One request. Times are seconds of the injected clock; `cost` is in units of batch size (rows), at least 1.

    `payload` and `ticket` are opaque: what the model is given, and how the face finds who waits for the answer.
    A `probe` runs against the learned latency, to find whether it still holds. `bereft`: its executor died while it
    ran alone, perhaps for no fault of its own; it is tried once more, and no more. `together`: size of its last batch.
    """

    __slots__ = (
        "bereft",
        "bucket",
        "cost",
        "deadline",
        "enqueued",
        "finished",
        "id",
        "level",
        "outcome",
        "payload",
        "probe",
        "started",
        "state",
        "ticket",
        "together",
    )

    def __init__(
        self,
        id: Hashable,
        payload: Any = None,
        *,
        bucket: Hashable = None,
        cost: int = 1,
        priority: Priority = Priority.ROUTINE,
        deadline: float = inf,
        ticket: Any = None,
    ) -> None:
        self.id = id
        self.payload = payload
        self.bucket = bucket
        self.cost = cost
        self.level = priority - 1
        self.deadline = deadline
        self.ticket = ticket
        self.probe = self.bereft = False
        self.state = ItemState.NEW
        self.outcome: Outcome | None = None
        self.enqueued = self.started = self.finished = inf
        self.together = 0

    @property
    def priority(self) -> Priority:
        """The class."""
        return Priority(self.level + 1)


class Batch:
    """Items for one model call: equal buckets, `size` = the sum of their costs."""

    __slots__ = ("bucket", "expected_end", "id", "items", "reason", "size", "started")

    def __init__(self, id: int, items: list[Item], size: int, reason: Release) -> None:
        self.id, self.items, self.size, self.reason = id, items, size, reason
        self.bucket = items[0].bucket
        self.started = self.expected_end = inf
