"""Parts of failed batches, and which exceptions mean that memory ran out."""

import pytest

from primum.batching.priority import Priority
from primum.batching.recovery import Retries, failure_of, ran_out_of_memory
from primum.batching.release import Failure
from primum.batching.request import Item, ItemState
from primum.errors import ExecutorDied, OutputCountError


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("x"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("Failed to allocate memory for requested buffer of size 8"),
    ],
)
def test_memory_ran_out(error):
    assert ran_out_of_memory(error) and failure_of(error) is Failure.OUT_OF_MEMORY


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("memory layout is wrong")])
def test_something_else_happened(error):
    assert not ran_out_of_memory(error) and failure_of(error) is Failure.ERROR


def test_a_wrong_number_of_outputs_is_its_own_failure():
    assert failure_of(OutputCountError(2, 1)) is Failure.OUTPUT_COUNT


def test_a_dead_process_is_its_own_failure_even_where_memory_had_run_out():
    assert failure_of(ExecutorDied("signal SIGKILL", out_of_memory=True)) is Failure.DIED


def test_halves_run_in_order_before_what_was_there():
    retries = Retries()
    items = [Item(k) for k in range(5)]
    retries.first_of_all([[Item("old")]])
    retries.split(items)
    groups = []
    while (group := retries.first(2)) is not None:
        retries.take(group)
        groups.append([item.id for item in group])
    assert groups == [[0, 1, 2], [3, 4], ["old"]]
    assert retries.count == 0


def test_a_group_has_the_highest_class_of_its_members_and_loses_who_leaves():
    retries = Retries()
    routine, emergency = Item(0), Item(1, priority=Priority.EMERGENCY, cost=3)
    retries.first_of_all([[routine, emergency]])
    assert retries.first(0) == [routine, emergency] and retries.first(2) is None
    assert retries.costs(0) == [(None, 4)]
    assert routine.state is ItemState.RETRYING
    retries.remove(routine)
    retries.remove(emergency)
    assert retries.first(0) is None and retries.count == 0 and retries.oldest() is None
