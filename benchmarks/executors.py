"""What it costs to run a network in a process of its own: `python benchmarks/executors.py`.

Microseconds of a lone call from the event loop, and rows a second of many, in the server's process and in processes;
alternately, in rounds, with the same network (ONNX Runtime, one thread). The small network has 32 features; of the
large one only the input counts: 3 x 224 x 224, averaged.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from torch import nn

from primum.artifact.manifest import read_manifest
from primum.batching import BatchConfig, DynamicBatcher
from primum.serving.executor.in_process import InProcess
from primum.serving.executor.processes import Processes
from primum.serving.executor.program import Asked, Executor, Network, Program, ProgramCall

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "tests" / "support")]

from served import build_artifact  # noqa: E402

NETWORKS = {
    "32 features": ((32,), nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 1))),
    "3x224x224": ((3, 224, 224), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1))),
    "3x224x224, 10 ms": (
        (3, 224, 224),
        nn.Sequential(
            nn.Conv2d(3, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 64, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(64, 1),
        ),
    ),
}  # fmt: skip


def built(folder: Path, shape: tuple[int, ...], module: nn.Module) -> Network:
    """An ONNX Runtime artifact of one thread."""
    build_artifact(folder, module.eval(), shape)
    return Network(folder, read_manifest(folder))


async def lone(executor: Executor, program: Program, case: NDArray[np.float32], calls: int) -> list[float]:
    """Seconds of each call of a loop that does nothing else."""
    run: Callable[[Asked], Awaitable[object]] = executor.run  # type: ignore[assignment]
    times = []
    for _ in range(calls):
        start = perf_counter()
        if executor.is_async:
            await run(Asked(program, case))
        else:
            executor.run(Asked(program, case))
        times.append(perf_counter() - start)
    return times


async def rate(executor: Executor, program: Program, case: NDArray[np.float32], requests: int, count: int) -> float:
    """Requests a second through a batcher, 64 at a time, `count` batches at once."""
    batcher = DynamicBatcher(ProgramCall(executor), config=BatchConfig(executors=count, max_batch_size=8))
    asked = Asked(program, case)
    await batcher.warm_up(asked)
    start = perf_counter()

    async def client() -> None:
        for _ in range(requests // 64):
            await batcher.predict(asked)

    await asyncio.gather(*[client() for _ in range(64)])
    taken = perf_counter() - start
    await batcher.stop()
    return requests / taken


async def measure(network: Network, rounds: int, calls: int, requests: int) -> None:
    """Print one network's figures."""
    inside, one, two = InProcess(), Processes(1), Processes(2)
    executors: dict[str, Executor] = {"in process": inside, "1 process": one, "2 processes": two}
    programs = {name: executor.open(network) for name, executor in executors.items()}
    case = np.random.default_rng(0).normal(0, 1, (1, *network.manifest.signature.input_shape)).astype(np.float32)
    times: dict[str, list[float]] = {"in process": [], "1 process": []}
    rates: dict[str, list[float]] = {name: [] for name in executors}
    for name in times:
        await lone(executors[name], programs[name], case, 50)
    for _ in range(rounds):
        for name, found in times.items():
            found += await lone(executors[name], programs[name], case, calls)
        for name, speeds in rates.items():
            count = 1 if name == "1 process" else 2
            speeds.append(await rate(executors[name], programs[name], case, requests, count))
    for name, found in times.items():
        low, p50, p99 = np.percentile(found, (10, 50, 99)) * 1e6
        print(f"  {name:12} lone call us: p10 {low:8.0f}  p50 {p50:8.0f}  p99 {p99:8.0f}  (n = {len(found)})")
    for name, speeds in rates.items():
        print(f"  {name:12} requests a second, median of {rounds} rounds: {np.median(speeds):8.0f}")
    for executor in executors.values():
        executor.stop()


def main() -> None:
    """Measure every network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--requests", type=int, default=640)
    given = parser.parse_args()
    if importlib.util.find_spec("uvloop"):
        import uvloop

        factory = uvloop.new_event_loop
    else:
        factory = asyncio.new_event_loop
    for name, (shape, module) in NETWORKS.items():
        print(name)
        with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=factory) as runner:
            network = built(Path(folder) / "artifact", shape, module)
            runner.run(measure(network, given.rounds, given.calls, given.requests))


if __name__ == "__main__":
    main()
