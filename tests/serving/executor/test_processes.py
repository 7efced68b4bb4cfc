"""Networks in real processes: the same answers, and nothing that befalls a process befalls anything else."""

import asyncio
import os
import random
import shutil
import signal
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
import uvloop
from executor_doubles import BALLAST, CLOCK, EXIT, FAULT, HANG, MEMORY, expected
from hypothesis import given, settings
from hypothesis import strategies as st
from served import FEATURES, build_artifact
from torch import nn

from primum.artifact.manifest import read_manifest
from primum.batching import BatchConfig, DynamicBatcher
from primum.batching.outcome import Reason
from primum.errors import ExecutorDied, ExecutorHung, InputError, IntegrityError, PrimumError
from primum.serving.executor.in_process import InProcess
from primum.serving.executor.processes import Processes
from primum.serving.program import Asked, Network, ProgramCall, Restart

RNG = np.random.default_rng(0)


def rows_of(count, *first):
    """(count, 32); the first features of the first rows are `first`."""
    rows = RNG.normal(0, 0.2, (count, FEATURES)).astype(np.float32)
    rows[: len(first), 0] = first
    return rows


def batched(executor, program, **config):
    """A batcher over an executor, and how one row is asked."""
    batcher = DynamicBatcher(ProgramCall(executor), config=BatchConfig(**config))
    return batcher, lambda row, **options: batcher.predict(Asked(program, row[None]), **options)


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
    for limit in (1500, None):
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
        return done

    assert asyncio.run(main()) > 10


def test_a_replacement_opens_nothing_but_what_was_open(tmp_path, processes, pids, until):
    folder = build_artifact(tmp_path / "a")
    network = Network(folder, read_manifest(folder))
    executor = processes(1)
    program = executor.open(network)
    other = build_artifact(tmp_path / "b", nn.Linear(FEATURES, 1))

    async def main():
        _, ask = batched(executor, program, executor_timeout_s=1.5)
        folder.rename(tmp_path / "kept")
        shutil.copytree(other, folder)
        os.kill(pids(executor)[0], signal.SIGKILL)
        await until(lambda: "another than when it was first opened" in executor.stats().failing)
        assert executor.stats().alive == 0
        with pytest.raises(ExecutorHung):
            await ask(rows_of(1)[0])
        shutil.rmtree(folder)
        (tmp_path / "kept").rename(folder)
        await until(lambda: executor.stats().alive == 1)
        return await ask(rows_of(1)[0])

    assert asyncio.run(main()).shape == (1, 3)
    assert executor.stats().failing == "" and executor.stats().restarts == {Restart.DIED: 1}


def test_what_cannot_be_opened_is_said_as_it_is_without_processes(tmp_path, network, processes):
    folder = build_artifact(tmp_path / "a")
    executor, manifest = processes(2), read_manifest(folder)
    (folder / "model" / "model.onnx").write_bytes(b"broken")
    with pytest.raises(IntegrityError, match="SHA-256"):
        executor.open(Network(folder, manifest))
    with pytest.raises(InputError, match="imported by name"):
        executor.open(Network(folder, manifest, factory=lambda: nn.Linear(1, 1)))
    executor.open(network)
    assert executor.stats().alive == 2 and executor.stats().failing == ""
    with pytest.raises(PrimumError, match="no_such_opener"):
        processes(1, opener="executor_doubles:no_such_opener").open(network)


def test_nothing_is_left_behind(network, processes, pids, until):
    def held():
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), sorted(Path("/dev/shm").iterdir())

    before = held()
    executor = processes(1, opener="executor_doubles:opened")
    kept = executor.open(network)

    async def main():
        await executor.run(Asked(kept, rows_of(2)))
        started, inside = held(), None
        for _ in range(200):
            executor.close(await asyncio.to_thread(executor.open, network))
            inside = inside or list(Path(f"/proc/{pids(executor)[0]}/fd").iterdir())
        assert len(list(Path(f"/proc/{pids(executor)[0]}/fd").iterdir())) == len(inside)
        for _ in range(3):
            os.kill(pids(executor)[0], signal.SIGKILL)
            await until(lambda: executor.stats().alive == 0)
            await until(lambda: executor.stats().alive == 1)
            await executor.run(Asked(kept, rows_of(2)))
        now = held()
        assert (now[0], now[2]) == (started[0], started[2])
        await asyncio.to_thread(lambda: None)
        executor.stop()

    asyncio.run(main())
    assert held() == before


def test_a_process_inherits_no_socket_of_the_server(processes, network, pids):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.set_inheritable(True)
        executor = processes(1, opener="executor_doubles:opened")
        executor.open(network)
        number = f"socket:[{os.fstat(listening.fileno()).st_ino}]"
        folder = Path(f"/proc/{pids(executor)[0]}/fd")
        held = [str(entry.readlink()) for entry in folder.iterdir()]
    assert number not in held
    assert sum(target.startswith("socket:") for target in held) == 2


def test_several_processes_work_at_the_same_time(doubles):
    executor, program = doubles(2)

    async def main():
        start = asyncio.get_running_loop().time()
        await asyncio.gather(*[executor.run(Asked(program, rows_of(1, CLOCK))) for _ in range(40)])
        return asyncio.get_running_loop().time() - start

    # 40 calls of 5 ms that sleep: one process alone cannot be below 200 ms.
    assert asyncio.run(main()) < 0.19


def test_a_stopped_executor_says_so(doubles):
    executor, program = doubles()
    executor.stop()
    executor.stop()
    with pytest.raises(PrimumError, match="closed"):
        asyncio.run(executor.run(Asked(program, rows_of(1))))
    assert isinstance(executor, Processes) and executor.stats().alive == 0
