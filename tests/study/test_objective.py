"""What is better than what: by time, or by bytes with everything that is carried."""

from dataclasses import replace

import pytest

from primum.study.objective import LATENCY, SIZE, objective_of
from primum.study.trial import Guarded
from primum.validation.conformal import Band


def test_an_objective_is_found_by_its_name():
    assert objective_of("latency") is LATENCY and objective_of("size") is SIZE


def test_the_fastest_is_best_by_latency_whatever_its_size(make_trial):
    trials = [make_trial("fast", 5.0, size=900), make_trial("small", 2.0, size=10)]
    assert LATENCY.best(trials).key == "fast" and SIZE.best(trials).key == "small"
    assert LATENCY.best([]) is None is SIZE.best([])


@pytest.mark.parametrize(("size", "best"), [(101, "fast"), (102, "fast"), (103, "small")])
def test_sizes_within_two_percent_are_alike_and_speed_decides(make_trial, size, best):
    assert SIZE.best([make_trial("small", 2.0, size=100), make_trial("fast", 5.0, size=size)]).key == best


def test_a_guarded_model_weighs_what_it_carries(make_trial):
    alone = make_trial("fast", 5.0, lost=0, size=25)
    guard = Guarded("fast", "lossless", Band.__new__(Band), 0.1, 100, 4.0)
    guarded = replace(alone, key="guarded", guard=guard)
    assert guarded.all_bytes == 125 and SIZE.merit(guarded) == pytest.approx(1 / 125)
    assert SIZE.best([alone, guarded]) is alone


def test_by_size_nothing_slower_than_the_original_is_fast_enough(make_trial):
    slow = make_trial("slow", 0.99)
    assert LATENCY.fast_enough(slow) and not SIZE.fast_enough(slow)
    assert SIZE.fast_enough(make_trial("same", 1.0))
