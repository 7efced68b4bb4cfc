"""How large a batch may be: each strategy, and the tightest bound."""

import pytest

from primum.batching.latency import LatencyTable
from primum.batching.policy import BucketPlan
from primum.batching.release import Release
from primum.batching.settings import Settings
from primum.config.batching import BatchStrategy


def plan(strategy=BatchStrategy.LATENCY_AWARE, line=lambda n: 0.006 + 0.004 * n, sizes=range(1, 33), **settings):
    made = BucketPlan(Settings(strategy=strategy, **settings), LatencyTable())
    for n in sizes:
        for _ in range(4):
            made.answered(n, line(n), line(n), 0.0)
    return made


def test_the_target_bounds_wait_and_service_together():
    limit = plan(target_s=0.1).limit()
    assert (limit.size, limit.reason) == (11, Release.TARGET)
    assert 2 * (0.006 + 0.004 * 11) <= 0.1 < 2 * (0.006 + 0.004 * 12)


def test_while_all_measured_sizes_fit_the_target_twice_the_largest_is_tried():
    assert plan(line=lambda n: 0.029 + 0.001 * n, sizes=[1], target_s=0.1).limit().size == 2
    assert plan(line=lambda n: 0.029 + 0.001 * n, sizes=[1, 2, 4], target_s=0.1).limit().size >= 8
    assert plan(line=lambda n: 0.006 + 0.004 * n, sizes=[1, 8, 16], target_s=0.1).limit().size == 11


@pytest.mark.parametrize("strategy", [BatchStrategy.TAKE_ALL, BatchStrategy.TIMEOUT])
def test_other_strategies_know_no_target(strategy):
    limit = plan(strategy, target_s=0.1).limit()
    assert (limit.size, limit.reason) == (32, Release.FULL)


def test_a_target_that_one_request_cannot_meet_twice_is_said_and_met_once():
    made = plan(line=lambda n: 0.05 + 0.005 * n, target_s=0.1)
    assert made.target_unattainable and made.limit().size == 10
    assert plan(line=lambda n: 1.0, target_s=0.1).limit().size == 32


def test_a_batch_that_gains_nothing_stays_small_now_and_then_it_looks_further():
    made = plan(line=lambda n: 0.004 * n, target_s=None)
    assert (made.limit().size, made.limit().reason) == (1, Release.THROUGHPUT)
    assert {made.next_limit().size for _ in range(200)} == {1, 2}
    micro = plan(line=lambda n: 4e-6 * n, target_s=None)
    assert micro.limit().size == 32


def test_running_out_of_memory_halves_and_stays():
    made = plan(target_s=None)
    made.ran_out_of_memory(20)
    made.ran_out_of_memory(30)
    assert (made.limit().size, made.limit().reason) == (10, Release.MEMORY)
    for _ in range(8):
        made.ran_out_of_memory(made.memory_cap)
    assert made.memory_cap == 1


def test_the_memory_aware_strategy_keeps_to_what_was_measured():
    made = plan(BatchStrategy.MEMORY_AWARE, target_s=None, memory_limit_bytes=100.0)
    assert made.limit().size == 1
    made.took_memory(1, 14)
    made.took_memory(4, 26)
    assert (made.limit().size, made.limit().reason) == (8, Release.MEMORY)
    made.took_memory(16, 110)
    assert made.limit().size == 14
    assert plan(target_s=None, memory_limit_bytes=1.0).limit().reason is not Release.MEMORY


def test_what_surrounds_a_call_counts_against_the_target():
    made = plan(target_s=0.1)
    for _ in range(30):
        made.answered(4, 0.022 + 0.02, 0.022, 0.0)
    assert made.overhead == pytest.approx(0.02, rel=0.01)
    assert made.limit().size == 6


def test_a_probe_is_due_ten_times_a_second_without_answers():
    made = plan()
    made.answered(1, 0.01, 0.01, now=5.0)
    assert not made.probe_due(5.09)
    assert made.probe_due(5.11)
    assert not made.probe_due(5.2)
