"""Profiles at load, and the worker threads."""

import asyncio
import threading
import time

import pytest

from primum.batching.latency import LatencyTable
from primum.batching.model_call import ListCall
from primum.batching.policy import BucketPlan
from primum.batching.profiling import peak_memory, probe_for, profile, profile_awaited, sizes_up_to
from primum.batching.settings import Settings
from primum.batching.workers import Worker
from primum.config.batching import BatchConfig, BatchStrategy
from primum.errors import ExecutorHung


def test_sizes():
    assert list(sizes_up_to(1)) == [1]
    assert list(sizes_up_to(20)) == [1, 2, 4, 8, 16, 20]


def test_a_profile_measures_every_size_and_leaves_the_first_call_out():
    calls = []

    def model(batch):
        calls.append(len(batch))
        time.sleep(0.05 if calls.count(len(batch)) == 1 else 0.001 * len(batch))
        return batch

    call, plan = ListCall(model), BucketPlan(Settings(), LatencyTable())
    assert profile(call, plan, call.prepare(1), 4, calls=2, probe=lambda: 7.0) == (1, 2, 4)
    assert calls == [1, 1, 1, 2, 2, 2, 4, 4, 4]
    assert plan.table.sizes == plan.memory.sizes == (1, 2, 4)
    assert plan.table.upper(1) < plan.table.upper(4) < 0.05


def test_a_size_that_runs_out_of_memory_ends_it_and_any_other_error_is_raised():
    def model(batch):
        if len(batch) > 2:
            raise MemoryError
        return batch

    call, plan = ListCall(model), BucketPlan(Settings(), LatencyTable())
    assert profile(call, plan, call.prepare(1), 16, calls=1) == (1, 2)
    assert plan.memory_cap == 2
    with pytest.raises(ZeroDivisionError):
        profile(ListCall(lambda batch: 1 / 0), plan, call.prepare(1), 4)


def test_coroutine_functions_are_profiled_in_the_loop():
    calls, first = [], 0.1

    async def model(batch):
        calls.append(len(batch))
        await asyncio.sleep(first if calls.count(len(batch)) == 1 else 0.001 * len(batch))
        if len(batch) > 4:
            raise MemoryError
        return batch

    call, plan = ListCall(model), BucketPlan(Settings(), LatencyTable())
    assert asyncio.run(profile_awaited(call, plan, call.prepare(1), 16, 2, 1.0)) == (1, 2, 4)
    assert calls == [1, 1, 1, 2, 2, 2, 4, 4, 4, 8]
    assert plan.table.sizes == (1, 2, 4) and plan.memory_cap == 4
    assert 0.001 <= plan.table.upper(1) < plan.table.upper(4) < first, "first calls do not count"


def test_a_coroutine_function_that_hangs_or_fails_ends_its_profile():
    async def hangs(batch):
        await asyncio.sleep(60)

    async def fails(batch):
        raise ZeroDivisionError

    async def times_out(batch):
        raise TimeoutError("its own")

    for model, error, said in (
        (hangs, ExecutorHung, "0.05 s"),
        (fails, ZeroDivisionError, ""),
        (times_out, TimeoutError, "own"),
    ):
        call, plan = ListCall(model), BucketPlan(Settings(), LatencyTable())
        with pytest.raises(error, match=said):
            asyncio.run(profile_awaited(call, plan, call.prepare(1), 4, 2, 0.05))


def test_the_probe_is_this_processs_peak():
    before = peak_memory()
    block = bytearray(64 << 20)
    assert peak_memory() >= max(before, len(block))
    assert probe_for(BatchConfig()) is None
    assert probe_for(BatchConfig(strategy=BatchStrategy.MEMORY_AWARE, memory_limit_mb=10)) is peak_memory


def test_a_worker_runs_in_order_and_ends():
    done, over = [], threading.Event()
    worker = Worker("test-worker")
    for k in range(3):
        worker.run(lambda k=k: done.append((k, threading.current_thread().name)))
    worker.run(over.set)
    worker.close()
    assert over.wait(5)
    assert done == [(k, "test-worker") for k in range(3)]
