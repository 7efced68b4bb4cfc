"""Every reason belongs to one kind, and whoever waits gets an exception that says it."""

from concurrent.futures import CancelledError

import pytest

from primum.batching.answer import deadline, exception_of
from primum.batching.outcome import KIND_OF, Outcome, OutcomeKind, Reason
from primum.errors import ExecutorDied, ExecutorHung, OutputCountError, RequestExpired, RequestRejected


def test_every_reason_has_one_kind():
    assert set(KIND_OF) == set(Reason)
    assert set(KIND_OF.values()) == set(OutcomeKind)


@pytest.mark.parametrize("reason", [r for r in Reason if KIND_OF[r] is OutcomeKind.REJECTED])
def test_a_rejection_says_why_and_when_to_retry(reason):
    error = exception_of(Outcome(reason, retry_after_s=1.5))
    assert isinstance(error, RequestRejected)
    assert (error.reason, error.retry_after_s) == (reason.value, 1.5)


def test_other_ends():
    assert isinstance(exception_of(Outcome(Reason.DROPPED_EARLY)), RequestExpired)
    assert isinstance(exception_of(Outcome(Reason.BY_CALLER)), CancelledError)
    own = ValueError("mine")
    assert exception_of(Outcome(Reason.MODEL_ERROR, error=own)) is own


@pytest.mark.parametrize("shared", [OutputCountError(3, 2), ExecutorHung(1.0), ExecutorDied("signal SIGKILL", True)])
def test_an_error_of_a_whole_batch_is_not_one_object_for_many_waiters(shared):
    outcome = Outcome(Reason.OUTPUT_COUNT, error=shared)
    first, second = exception_of(outcome), exception_of(outcome)
    assert first is not second and str(first) == str(second) == str(shared)


def test_deadlines():
    assert deadline(10.0, 0.5, 100.0) == 10.5
    assert deadline(10.0, None, 100.0) == pytest.approx(10.1)
    assert deadline(10.0, None, None) == float("inf")
