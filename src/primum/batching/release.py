"""Why a batch was released, and what went wrong with one: both are metrics."""

from __future__ import annotations

from enum import StrEnum


class Release(StrEnum):
    """Why a batch left with the size that it had."""

    IDLE = "idle"
    """An executor was free when the requests came: they ran at once."""
    EXECUTOR_FREE = "executor_free"
    """An executor became free and took all that waited."""
    FULL = "full"
    """The largest batch size."""
    MEMORY = "memory"
    """The largest size that memory allows, measured or learned from a call that ran out of it."""
    TARGET = "target"
    """The largest size whose wait and service fit the target latency."""
    THROUGHPUT = "throughput"
    """A larger batch would not have raised throughput."""
    DEADLINE = "deadline"
    """A larger batch would have missed the deadline of a member."""
    WINDOW = "window"
    """The window for holding ended."""
    STARVATION = "starvation"
    """Led by a request that waited too long, past higher classes."""
    PROBE = "probe"
    """One request that by the learned latency would be late, to find whether that still holds."""
    RETRY = "retry"
    """Part of a batch that failed."""
    BACKGROUND = "background"
    """A request of the background class: nothing else waited or ran."""
    DRAIN = "drain"
    """Held for nothing while draining."""


class Failure(StrEnum):
    """How a call failed, which decides what becomes of its items."""

    ERROR = "error"
    """It raised: the batch is bisected until the item at fault stands alone."""
    OUT_OF_MEMORY = "out_of_memory"
    """The batch is halved, and the bucket keeps to that size."""
    OUTPUT_COUNT = "output_count"
    """It returned another number of outputs than it was given inputs: all its items end in that error."""
    HUNG = "hung"
    """No answer within the executor timeout: running the items again would hang again."""
    DIED = "died"
    """The process that ran it died: the batch is bisected, and an item alone is tried once more."""
