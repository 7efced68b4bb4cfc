"""An outcome as whoever waits sees it: the value, or an exception that says why there is none."""

from __future__ import annotations

from concurrent.futures import CancelledError
from math import inf

from primum.batching.outcome import Outcome, OutcomeKind, Reason
from primum.errors import ExecutorDied, ExecutorHung, OutputCountError, RequestExpired, RequestRejected

_DETAILS = {
    Reason.TOO_LARGE: "it has more rows than the largest batch: send it in chunks (predict_many, process_many)",
    Reason.DRAINING: "the batcher is stopping",
    Reason.STOPPED: "the batcher was stopped",
}


def exception_of(outcome: Outcome) -> BaseException:
    """The exception of an outcome that is no result: of an error, what the model raised.

    Each waiter gets an instance of its own where several share an error.
    """
    error = outcome.error
    if outcome.kind is OutcomeKind.ERROR and error is not None:
        if isinstance(error, OutputCountError):
            return OutputCountError(error.inputs, error.outputs)
        if isinstance(error, ExecutorDied):
            return ExecutorDied(error.how, error.out_of_memory)
        return ExecutorHung(error.seconds) if isinstance(error, ExecutorHung) else error
    if outcome.kind is OutcomeKind.EXPIRED:
        return RequestExpired(outcome.reason.value)
    if outcome.kind is OutcomeKind.CANCELLED:
        return CancelledError()
    detail = str(error) if error is not None else _DETAILS.get(outcome.reason, "")
    rejected = RequestRejected(outcome.reason.value, outcome.retry_after_s, detail)
    rejected.__cause__ = error
    return rejected


def deadline(now: float, timeout_s: float | None, default_ms: float | None) -> float:
    """When an answer is due, on the clock of `now`; infinite where neither is given."""
    if timeout_s is not None:
        return now + timeout_s
    return now + default_ms / 1e3 if default_ms is not None else inf
