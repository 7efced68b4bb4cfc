"""The core where properties say too little: admission, eviction, probes, late returns and misuse."""

import pytest

from primum.batching.core import Batcher
from primum.batching.latency import LatencyTables
from primum.batching.outcome import OutcomeKind, Reason
from primum.batching.priority import Priority
from primum.batching.release import Failure, Release
from primum.batching.request import Item
from primum.batching.settings import Settings
from primum.errors import InputError, OutputCountError


def known(line=lambda n: 0.01, cap=8, **settings):
    batcher = Batcher(Settings(max_batch_size=cap, target_s=None, tick_s=1e-6, **settings))
    for n in range(1, cap + 1):
        batcher.plan(None).table.observe(n, line(n))
    return batcher


def give(batcher, *items, now=0.0):
    for item in items:
        batcher.submit(item, now)
    return list(items)


def test_a_full_queue_turns_away_the_lowest_class_first_and_says_when_to_come_back():
    batcher = known(max_queue_size=3)
    give(batcher, Item("running"))
    batcher.next_batch(0.0)
    routine, late, urgent = give(
        batcher, Item("r", deadline=1.0), Item("l", deadline=2.0), Item("u", priority=Priority.URGENT)
    )
    refused, emergency = give(batcher, Item("x"), Item("e", priority=Priority.EMERGENCY))
    assert refused.outcome.reason is Reason.QUEUE_FULL and refused.outcome.retry_after_s > 0
    assert late.outcome.reason is Reason.EVICTED and late.outcome.retry_after_s > 0
    assert routine.outcome is urgent.outcome is emergency.outcome is None
    assert batcher.stats().queued_cost == 3


def test_nobody_is_turned_away_for_a_request_that_does_not_fit_even_so():
    batcher = known(max_queue_size=3)
    give(batcher, Item(0))
    batcher.next_batch(0.0)
    routine, urgent = give(batcher, Item("r"), Item("u", cost=2, priority=Priority.URGENT))
    big = Item("big", cost=3, priority=Priority.URGENT)
    give(batcher, big)
    assert big.outcome.reason is Reason.QUEUE_FULL
    assert routine.outcome is urgent.outcome is None


def test_only_work_ahead_counts_against_a_deadline():
    """Eight without a deadline and four emergencies due later wait: who goes after does not count."""
    batcher = known(cap=1)
    give(batcher, Item("running"))
    batcher.next_batch(0.0)
    give(batcher, *[Item(k) for k in range(8)])
    give(batcher, *[Item(10 + k, priority=Priority.EMERGENCY, deadline=5.0) for k in range(4)])
    tight = Item("tight", priority=Priority.EMERGENCY, deadline=0.021)
    late = Item("late", deadline=0.05)
    give(batcher, tight, late)
    assert tight.outcome is None
    assert late.outcome.reason is Reason.DEADLINE_UNMEETABLE
    # The running call, five emergencies and its own: 70 ms, of which 50 are allowed.
    assert late.outcome.retry_after_s == pytest.approx(0.02)


def test_work_ahead_in_another_bucket_counts_by_its_own_speed():
    tables = LatencyTables()
    batcher = Batcher(Settings(max_batch_size=1, target_s=None), tables=tables, model="m")
    tables.of("m", "slow").observe(1, 1.0)
    tables.of("m", "quick").observe(1, 0.001)
    give(batcher, Item(0, bucket="slow"))
    batcher.next_batch(0.0)
    first, second = give(batcher, Item(1, bucket="slow", deadline=3.0), Item(2, bucket="quick", deadline=3.1))
    third = give(batcher, Item(3, bucket="quick", deadline=1.5))[0]
    assert first.outcome is second.outcome is third.outcome is None
    fourth = give(batcher, Item(4, bucket="quick", deadline=0.9))[0]
    assert fourth.outcome.reason is Reason.DEADLINE_UNMEETABLE


def test_a_slow_call_long_ago_does_not_refuse_for_ever():
    batcher = known(line=lambda n: 10.0)
    assert give(batcher, Item(0, deadline=0.5), now=0.0)[0].probe
    batch = batcher.next_batch(0.0)
    assert batch.reason is Release.PROBE
    batcher.complete(batch, [1], 0.01)
    assert batcher.plan(None).seconds(1) == pytest.approx(0.01)
    other = give(batcher, Item(1, deadline=0.1), now=0.02)[0]
    assert other.outcome is None and not other.probe


def test_probes_are_ten_a_second_and_only_while_nothing_else_is_here():
    batcher = known(line=lambda n: 10.0)
    first, second = give(batcher, Item(0, deadline=0.5), Item(1, deadline=0.5))
    assert first.probe and second.outcome.reason is Reason.DEADLINE_UNMEETABLE
    batcher.complete(batcher.next_batch(0.0), [1], 10.0)
    assert give(batcher, Item(2, deadline=10.2), now=10.05)[0].outcome.reason is Reason.DEADLINE_UNMEETABLE
    assert give(batcher, Item(3, deadline=10.3), now=10.15)[0].probe


def test_a_call_that_comes_back_after_it_was_given_up_changes_nothing():
    batcher = known()
    item = give(batcher, Item(0))[0]
    batch = batcher.next_batch(0.0)
    batcher.fail(batch, TimeoutError(), 1.0, Failure.HUNG)
    batcher.complete(batch, ["late"], 2.0)
    batcher.fail(batch, ValueError(), 3.0)
    assert item.outcome.reason is Reason.EXECUTOR_HUNG and batcher.idle
    assert batcher.take_finished() == [item] and batcher.take_finished() == []


def test_two_executors_run_two_batches():
    batcher = known(cap=1, executors=2)
    give(batcher, *[Item(k) for k in range(3)])
    first, second = batcher.next_batch(0.0), batcher.next_batch(0.0)
    assert batcher.next_batch(0.0) is None
    batcher.complete(second, [2], 0.01)
    third = batcher.next_batch(0.01)
    assert [b.items[0].id for b in (first, second, third)] == [0, 1, 2]
    assert third.reason is Release.FULL


def test_why_a_batch_left_is_told():
    batcher = known()
    give(batcher, Item(0))
    idle = batcher.next_batch(0.0)
    give(batcher, Item(1), Item(2), now=0.005)
    batcher.complete(idle, [0], 0.01)
    free = batcher.next_batch(0.01)
    assert (idle.reason, free.reason) == (Release.IDLE, Release.EXECUTOR_FREE)
    assert batcher.stats().releases == {Release.IDLE: 1, Release.EXECUTOR_FREE: 1}


def test_a_wrong_number_of_outputs_ends_everyone_and_nobody_gets_a_value():
    batcher = known()
    items = give(batcher, Item(0), Item(1), Item(2))
    batcher.complete(batcher.next_batch(0.0), ["only one"], 0.1)
    assert all(i.outcome.reason is Reason.OUTPUT_COUNT and i.outcome.value is None for i in items)
    assert isinstance(items[0].outcome.error, OutputCountError)
    assert batcher.stats().failures == {Failure.OUTPUT_COUNT: 1}


def test_abandoning_turns_away_who_waits_and_lets_calls_finish():
    batcher = known(cap=2)
    first, second, third = give(batcher, Item(0), Item(1), Item(2))
    batch = batcher.next_batch(0.0)
    batcher.abandon(0.01)
    assert third.outcome.reason is Reason.STOPPED
    batcher.complete(batch, [10, 11], 0.02)
    assert (first.outcome.value, second.outcome.value) == (10, 11) and batcher.idle


def test_late_answers_are_given_and_counted():
    batcher = known()
    item = give(batcher, Item(0, deadline=0.05))[0]
    batcher.complete(batcher.next_batch(0.0), ["v"], 0.2)
    assert item.outcome.kind is OutcomeKind.RESULT and batcher.stats().late == 1


def test_too_large_and_submitted_twice():
    batcher = known(cap=4)
    item = give(batcher, Item(0, cost=5))[0]
    assert item.outcome.reason is Reason.TOO_LARGE
    with pytest.raises(InputError, match="before"):
        batcher.submit(item, 0.0)
    assert not batcher.cancel(item, 0.0)


def test_what_was_learned_is_in_the_stats():
    batcher = known(cap=4)
    batcher.plan(None).ran_out_of_memory(4)
    facts = batcher.stats().buckets[0]
    assert (facts.limit, facts.limited_by, facts.memory_cap, facts.calls) == (2, Release.MEMORY, 2, 4)
    assert facts.latency_s == {1: 0.01, 2: 0.01, 3: 0.01, 4: 0.01}


def test_gone_items_do_not_stay_in_memory():
    """A million requests past one that waits: lists do not grow with them."""
    batcher = known(cap=1, starvation_age_s=1e9)
    give(batcher, Item("waits"))
    for k in range(3000):
        give(batcher, Item(k, priority=Priority.EMERGENCY), now=k * 0.01)
        batcher.complete(batcher.next_batch(k * 0.01), [0], k * 0.01 + 0.001)
        batcher.take_finished()
    assert len(batcher._queue._arrivals) < 100
