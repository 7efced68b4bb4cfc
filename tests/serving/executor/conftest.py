import asyncio
import time

import pytest

from primum.artifact.manifest import read_manifest
from primum.serving.executor.processes import Processes
from primum.serving.executor.program import Network


@pytest.fixture
def network(artifact):
    """The risk model, read and checked."""
    return Network(artifact, read_manifest(artifact))


@pytest.fixture
def processes():
    """Makes executors of real processes, which end with the test."""
    made = []

    def make(*arguments, **options):
        made.append(Processes(*arguments, **options))
        return made[-1]

    yield make
    for executor in made:
        executor.stop()


@pytest.fixture
def doubles(processes, network):
    """An executor of processes that run the double, and its program."""

    def make(count=1, **options):
        executor = processes(count, opener="executor_doubles:opened", **options)
        return executor, executor.open(network)

    return make


@pytest.fixture
def pids():
    """The ids of an executor's processes."""
    return lambda executor: [slot.process._process.pid for slot in executor._slots]


@pytest.fixture
def until():
    """Waits until something holds; in the loop, so that calls go on."""

    async def wait(holds, seconds=20.0):
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, "it never came to be"
            await asyncio.sleep(0.01)

    return wait
