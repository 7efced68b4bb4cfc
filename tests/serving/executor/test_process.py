"""What befalls a process befalls nothing else: kills, hangs, lack of memory, errors."""

import asyncio
import os
import random
import signal

import grpc
import numpy as np
import pytest
from executor_asking import batched, rows_of
from executor_doubles import BALLAST, EXIT, FAULT, HANG, MEMORY, expected

from primum.batching.outcome import Reason
from primum.errors import ExecutorDied, ExecutorHung, PrimumError
from primum.serving.executor.in_process import InProcess
from primum.serving.executor.program import Asked, Restart
from primum.serving.grpc.service import status_of
from primum.serving.http.responses import failure


def test_processes_killed_at_random_lose_no_answer(network, processes, pids):
    executor, chance = processes(2), random.Random(0)
    program = executor.open(network)
    rows = rows_of(2000)
    inside = InProcess()
    wanted = inside.run(Asked(inside.open(network), rows))

    async def kill():
        while True:
            await asyncio.sleep(chance.uniform(0.05, 0.4))
            ready = [slot.process for slot in executor._slots if slot.ready]
            if ready:
                os.kill(chance.choice(ready)._process.pid, signal.SIGKILL)

    async def main():
        batcher, ask = batched(executor, program, executors=2, max_batch_size=16)
        killer, answers = asyncio.create_task(kill()), []
        try:
            for start in range(0, 2000, 40):
                answers += await asyncio.gather(*[ask(row) for row in rows[start : start + 40]])
                await asyncio.sleep(0.04)
        finally:
            killer.cancel()
        return np.concatenate(answers), batcher.stats()

    answers, stats = asyncio.run(main())
    np.testing.assert_allclose(answers, wanted, atol=1e-6)
    assert stats.reasons == {Reason.ANSWERED: 2000} and stats.pending == 0
    assert executor.stats().restarts[Restart.DIED] >= 3


def test_a_call_that_a_dead_process_never_took_goes_to_another(doubles, pids):
    """Nobody has noticed yet that both are dead: that is no fault of the call."""
    executor, program = doubles(2)
    first = pids(executor)

    async def main():
        rows = rows_of(3)
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        return rows, await executor.run(Asked(program, rows))

    rows, answers = asyncio.run(main())
    np.testing.assert_allclose(answers[:, :2], expected(rows), atol=1e-6)
    assert executor.stats().restarts == {Restart.DIED: 2}


@pytest.mark.parametrize("error", [ExecutorDied("signal SIGSEGV"), ExecutorHung(30.0)])
def test_an_executor_that_is_gone_makes_no_request_wrong(error):
    """The client may come again: the service is at fault, and for now."""
    assert failure(error).status == 503
    assert status_of(error) is grpc.StatusCode.UNAVAILABLE


def test_a_hung_process_is_ended_and_replaced(doubles, pids, until):
    executor, program = doubles()
    before = pids(executor)

    async def main():
        _, ask = batched(executor, program, executor_timeout_s=0.5)
        first = asyncio.create_task(ask(rows_of(1)[0]))
        await first
        os.kill(before[0], signal.SIGSTOP)
        with pytest.raises(ExecutorHung):
            await ask(rows_of(1)[0])
        await until(lambda: executor.stats().alive == 1)
        return await ask(rows_of(1)[0])

    assert asyncio.run(main()).shape == (1, 3)
    assert executor.stats().restarts == {Restart.HUNG: 1} and pids(executor) != before


def test_a_call_that_nobody_waits_for_is_ended(doubles, until):
    executor, program = doubles(2)

    async def main():
        hung = asyncio.create_task(executor.run(Asked(program, rows_of(1, HANG))))
        await asyncio.sleep(0.1)
        hung.cancel()
        # The other process answers meanwhile.
        answers = await executor.run(Asked(program, rows := rows_of(5)))
        np.testing.assert_allclose(answers[:, :2], expected(rows), atol=1e-6)
        await until(lambda: executor.stats().alive == 2)

    asyncio.run(main())
    assert executor.stats().restarts == {Restart.HUNG: 1}


def test_a_case_that_ends_its_process_ends_alone(doubles):
    executor, program = doubles(2)
    rows = rows_of(12)
    rows[5, 0] = EXIT

    async def main():
        batcher, ask = batched(executor, program, executors=2)
        ends = await asyncio.gather(*[ask(row) for row in rows], return_exceptions=True)
        return ends, batcher.stats()

    ends, stats = asyncio.run(main())
    assert isinstance(ends[5], ExecutorDied) and "exit status 7" in str(ends[5])
    others = [k for k in range(12) if k != 5]
    np.testing.assert_allclose(np.concatenate([ends[k] for k in others])[:, :2], expected(rows[others]), atol=1e-6)
    assert stats.reasons == {Reason.ANSWERED: 11, Reason.EXECUTOR_DIED: 1}


def test_a_lack_of_memory_halves_the_batch_and_ends_no_process(doubles, pids):
    executor, program = doubles()
    before, rows = pids(executor), rows_of(8, MEMORY)

    async def main():
        batcher, ask = batched(executor, program)
        ends = await asyncio.gather(*[ask(row) for row in rows])
        return np.concatenate(ends), batcher.stats()

    answers, stats = asyncio.run(main())
    np.testing.assert_allclose(answers[:, :2], expected(rows), atol=1e-6)
    assert stats.buckets[0].memory_cap == 1 and pids(executor) == before


def test_memory_beyond_the_limit_is_refused_to_a_process(doubles, pids):
    for limit in (600, None):
        executor, program = doubles(memory_limit_mb=limit)
        before = pids(executor)

        async def ask(executor=executor, program=program):
            return await executor.run(Asked(program, rows_of(1, BALLAST)))

        if limit is None:
            asyncio.run(ask())
        else:
            with pytest.raises(MemoryError):
                asyncio.run(ask())
        assert pids(executor) == before


def test_what_a_model_raises_stays_in_its_process(doubles, pids):
    executor, program = doubles()
    before = pids(executor)

    async def main():
        with pytest.raises(PrimumError) as raised:
            await executor.run(Asked(program, rows_of(1, FAULT)))
        return str(raised.value), await executor.run(Asked(program, rows_of(1)))

    assert asyncio.run(main())[0] == "the model failed (ValueError)"
    assert pids(executor) == before
