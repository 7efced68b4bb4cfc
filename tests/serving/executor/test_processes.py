"""Networks in real processes: the same answers, whatever the size, many at a time."""

import asyncio

import numpy as np
import pytest
import uvloop
from executor_asking import RNG, rows_of
from executor_doubles import SLEEP, expected
from hypothesis import given, settings
from hypothesis import strategies as st
from served import build_artifact
from torch import nn

from primum.artifact.manifest import read_manifest
from primum.errors import PrimumError
from primum.serving.executor.in_process import InProcess
from primum.serving.executor.processes import Processes
from primum.serving.executor.program import Asked, Network


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_answers_are_those_of_the_servers_own_process(network, processes, factory):
    executor, inside = processes(2), InProcess()
    program, own = executor.open(network), inside.open(network)
    assert program.proven == own.proven
    with asyncio.Runner(loop_factory=factory) as runner:

        @settings(deadline=None, max_examples=40)
        @given(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=4), min_size=1, max_size=5))
        def same(calls):
            asked = [[rows_of(size) for size in sizes] for sizes in calls]

            async def ask():
                return await asyncio.gather(*[executor.run(Asked(program, *parts)) for parts in asked])

            for parts, given_back in zip(asked, runner.run(ask()), strict=True):
                np.testing.assert_array_equal(given_back, inside.run(Asked(own, *parts)))

        same()
    assert executor.stats().alive == 2 and not executor.stats().restarts


def test_rows_and_answers_of_any_size(tmp_path, processes):
    """30 MB of pictures, and answers that take more room than what was asked."""
    pictures = build_artifact(
        tmp_path / "a", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1)), (3, 224, 224)
    )
    numbers = build_artifact(tmp_path / "b", nn.Linear(1, 1), (1,))
    executor, inside = processes(1), InProcess()

    async def same(folder, count, shape):
        network = Network(folder, read_manifest(folder))
        program, own = await asyncio.to_thread(executor.open, network), inside.open(network)
        rows = RNG.normal(0, 1, (count, *shape)).astype(np.float32)
        for part in (rows[:1], rows, rows[1:3]):
            given_back = await executor.run(Asked(program, part))
            np.testing.assert_allclose(given_back, inside.run(Asked(own, part)), atol=1e-12)
        await asyncio.to_thread(executor.close, program)

    async def main():
        await same(pictures, 50, (3, 224, 224))
        await same(numbers, 2_000_000, (1,))

    asyncio.run(main())


def test_calls_go_on_while_networks_are_opened_and_closed(doubles, network):
    executor, program = doubles()

    async def main():
        done, over = 0, False

        async def ask():
            nonlocal done
            while not over:
                rows = rows_of(3)
                answers = await executor.run(Asked(program, rows))
                np.testing.assert_allclose(answers[:, :2], expected(rows), atol=1e-6)
                done += 1

        asking = asyncio.create_task(ask())
        for _ in range(10):
            other = await asyncio.to_thread(executor.open, network)
            await executor.run(Asked(other, rows_of(2)))
            executor.close(other)
        over = True
        await asking
        with pytest.raises(PrimumError, match="closed"):
            await executor.run(Asked(other, rows_of(1)))
        other = await asyncio.to_thread(executor.open, network)
        busy = asyncio.create_task(executor.run(Asked(program, rows_of(1, SLEEP))))
        waiting = asyncio.create_task(executor.run(Asked(other, rows_of(1))))
        await asyncio.sleep(0.05)
        executor.close(other)
        with pytest.raises(PrimumError, match="closed"):
            await asyncio.wait_for(waiting, 0.3)
        await busy
        return done

    assert asyncio.run(main()) > 10


def test_several_processes_work_at_the_same_time(doubles):
    executor, program = doubles(2)

    async def main():
        start = asyncio.get_running_loop().time()
        await asyncio.gather(*[executor.run(Asked(program, rows_of(1, SLEEP))) for _ in range(4)])
        return asyncio.get_running_loop().time() - start

    # Each sleeps half a second: one process alone would take two.
    assert asyncio.run(main()) < 1.9


def test_a_stopped_executor_says_so(doubles):
    executor, program = doubles()
    executor.stop()
    executor.stop()
    with pytest.raises(PrimumError, match="closed"):
        asyncio.run(executor.run(Asked(program, rows_of(1))))
    assert isinstance(executor, Processes) and executor.stats().alive == 0
