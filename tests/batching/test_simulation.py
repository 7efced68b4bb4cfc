"""The goals in virtual time, in a short form of `make bench-batcher`."""

from pathlib import Path

import numpy as np
import pytest

from primum.batching.core import Batcher
from primum.batching.outcome import OutcomeKind
from primum.batching.priority import Priority
from primum.batching.request import Item
from primum.batching.settings import Settings

LINES = [(0.006, 0.004, 0.1), (0.003, 0.0003, 0.02)]


@pytest.fixture(autouse=True)
def world(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import batching_simulation

    return batching_simulation


@pytest.mark.parametrize("load", [0.05, 0.5, 0.8, 0.95])
@pytest.mark.parametrize(("base", "each", "slo"), LINES)
def test_the_mean_is_that_of_the_work_conserving_policy_at_every_load(world, base, each, slo, load):
    line = world.Line(base, each)
    rate = load * 32 / line(32)
    arrivals = world.poisson(rate, 6000, seed=5)
    run = world.simulate(Batcher(Settings(target_s=None, max_queue_size=10**9, tick_s=1e-6)), arrivals, line)
    reference = world.work_conserving(arrivals, line)
    assert len(run.sojourns) == 6000
    assert run.sojourns.mean() <= 1.05 * reference.mean()
    if load <= 0.5:
        # Beyond, the bound is for batches without a cap, and 6000 arrivals scatter more than it is wide.
        assert run.sojourns.mean() <= 1.02 * world.inoue(rate, line)


@pytest.mark.parametrize("load", [0.9, 1.2, 2.0])
@pytest.mark.parametrize(("base", "each", "slo"), LINES)
def test_goodput_holds_under_overload_and_nothing_is_late(world, base, each, slo, load):
    line = world.Line(base, each)
    size = line.best_within(slo)
    capacity = size / line(size)
    arrivals = world.poisson(load * capacity, 8000, seed=6)
    run = world.simulate(Batcher(Settings(target_s=slo, tick_s=1e-6)), arrivals, line, slo)
    assert run.goodput >= 0.95 * min(1.0, load) * capacity
    assert run.late < 0.001 * len(arrivals)


def test_emergencies_wait_for_one_residual_batch_and_their_own(world):
    line = world.Line(0.006, 0.004)
    size = line.best_within(0.1)
    arrivals = world.poisson(1.5 * size / line(size), 6000, seed=7)
    rng = np.random.default_rng(8)

    def make(k, at):
        emergency = rng.random() < 0.05
        return Item(k, priority=Priority.EMERGENCY if emergency else Priority.ROUTINE, deadline=at + 0.1)

    run = world.simulate(Batcher(Settings(target_s=0.1, tick_s=1e-6)), arrivals, line, make=make)
    emergencies = [item for item in run.items if item.priority is Priority.EMERGENCY]
    assert all(item.outcome.kind is OutcomeKind.RESULT for item in emergencies)
    took = np.array([item.finished - item.enqueued for item in emergencies])
    assert np.quantile(took, 0.99) <= 2 * line(size) * 1.0001
