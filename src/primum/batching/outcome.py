"""How a request ended: exactly one outcome for each."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple


class OutcomeKind(StrEnum):
    """The five ends of a request."""

    RESULT = "result"
    ERROR = "error"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Reason(StrEnum):
    """Why a request ended as it did; each belongs to one kind."""

    ANSWERED = "answered"
    MODEL_ERROR = "model_error"
    """The model failed on this request alone."""
    OUT_OF_MEMORY = "out_of_memory"
    """The model ran out of memory on this request alone."""
    OUTPUT_COUNT = "output_count"
    """The model returned another number of outputs than it was given inputs."""
    EXECUTOR_HUNG = "executor_hung"
    """The call took longer than the executor timeout."""
    EXECUTOR_DIED = "executor_died"
    """The process that ran this request alone died, twice."""
    INVALID = "invalid"
    """Refused by validation before it joined a batch."""
    TOO_LARGE = "too_large"
    """Costs more than the largest batch: to be sent in chunks."""
    QUEUE_FULL = "queue_full"
    EVICTED = "evicted"
    """Made room for a request of a higher class."""
    DEADLINE_UNMEETABLE = "deadline_unmeetable"
    """With the work ahead of it, it could not have been answered in time."""
    DRAINING = "draining"
    STOPPED = "stopped"
    DEADLINE_PASSED = "deadline_passed"
    """Waited until even a batch of its own would have been late."""
    DROPPED_EARLY = "dropped_early"
    """Under overload: serving it would have shrunk the batch so far that more requests behind it were late."""
    BY_CALLER = "by_caller"


_KINDS = {
    OutcomeKind.RESULT: (Reason.ANSWERED,),
    OutcomeKind.ERROR: (
        Reason.MODEL_ERROR,
        Reason.OUT_OF_MEMORY,
        Reason.OUTPUT_COUNT,
        Reason.EXECUTOR_HUNG,
        Reason.EXECUTOR_DIED,
    ),
    OutcomeKind.REJECTED: (
        Reason.INVALID,
        Reason.TOO_LARGE,
        Reason.QUEUE_FULL,
        Reason.EVICTED,
        Reason.DEADLINE_UNMEETABLE,
        Reason.DRAINING,
        Reason.STOPPED,
    ),
    OutcomeKind.EXPIRED: (Reason.DEADLINE_PASSED, Reason.DROPPED_EARLY),
    OutcomeKind.CANCELLED: (Reason.BY_CALLER,),
}
FOR_LOAD = frozenset(
    (
        Reason.QUEUE_FULL,
        Reason.EVICTED,
        Reason.DEADLINE_UNMEETABLE,
        Reason.DEADLINE_PASSED,
        Reason.DROPPED_EARLY,
    )
)
"""Less load, or a faster model, and the request might have been answered."""
KIND_OF = {reason: kind for kind, reasons in _KINDS.items() for reason in reasons}


class Outcome(NamedTuple):
    """The end of one request."""

    reason: Reason
    value: Any = None
    """Of a result: the model's output for this request."""
    error: BaseException | None = None
    """Of an error: what the model call raised."""
    retry_after_s: float | None = None
    """Of a rejection for load: when to try again, in seconds."""

    @property
    def kind(self) -> OutcomeKind:
        """Result, error, rejected, expired or cancelled."""
        return KIND_OF[self.reason]
