"""Processes are started again as they were, and leave nothing behind."""

import asyncio
import os
import shutil
import signal
import socket
import threading
from pathlib import Path

import pytest
from executor_asking import batched, rows_of
from served import FEATURES, build_artifact
from torch import nn

from primum.artifact.manifest import read_manifest
from primum.errors import ExecutorHung, InputError, IntegrityError, PrimumError
from primum.serving.executor.program import Asked, Network, Restart


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


def held_by(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_nothing_is_left_behind(network, processes, pids, until):
    def held():
        return held_by("self"), threading.active_count(), sorted(Path("/dev/shm").iterdir())

    before = held()
    executor = processes(1, opener="executor_doubles:opened")
    kept = executor.open(network)

    async def main():
        await executor.run(Asked(kept, rows_of(2)))
        started, inside = held(), None
        for _ in range(200):
            executor.close(await asyncio.to_thread(executor.open, network))
            inside = inside or held_by(pids(executor)[0])
        assert held_by(pids(executor)[0]) == inside
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
