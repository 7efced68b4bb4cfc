"""What the batcher costs a request, and what it keeps in virtual time: `make bench-batcher`.

Simulation A: mean and 99th percentile of the time from arrival to answer, Poisson arrivals, one executor, against the
work-conserving policy written on its own and Inoue's bound. Simulation B: goodput under a deadline at and beyond
capacity, against n*/l(n*), n* the largest batch that twice fits the deadline. No clock enters either.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections.abc import Callable
from time import perf_counter, process_time

import numpy as np
from batching_simulation import Line, inoue, poisson, simulate, work_conserving

from primum.batching import BatchConfig, DynamicBatcher
from primum.batching.core import Batcher
from primum.batching.request import Item
from primum.batching.settings import Settings

LINES = {"6 + 4n ms": (Line(0.006, 0.004), 0.1), "3 + 0.3n ms": (Line(0.003, 0.0003), 0.02)}
LOADS = (0.05, 0.2, 0.5, 0.8, 0.95)
OVERLOADS = (0.9, 1.2, 2.0)
TICK = 1e-6


def core_cost(n: int, waiting: int, with_deadline: bool) -> float:
    """Microseconds of one request through the core: submit, release and complete, `waiting` at a time."""
    batcher, now = Batcher(Settings(target_s=None)), 0.0
    timeout = 1.0 if with_deadline else float("inf")
    start = process_time()
    for k in range(n // waiting):
        for i in range(waiting):
            batcher.submit(Item((k, i), deadline=now + timeout), now)
        while (batch := batcher.next_batch(now)) is not None:
            now += 1e-5
            batcher.complete(batch, [0] * len(batch.items), now)
        batcher.take_finished()
    return (process_time() - start) / n * 1e6


async def _closed_loop(batcher: DynamicBatcher, n: int, clients: int, timeout_s: float | None) -> float:
    row = np.zeros(32, dtype=np.float32)

    async def client(calls: int) -> None:
        for _ in range(calls):
            await batcher.predict(row, timeout_s=timeout_s)

    await asyncio.gather(*(client(20) for _ in range(clients)))
    start = process_time()
    await asyncio.gather(*(client(n // clients) for _ in range(clients)))
    return (process_time() - start) / (n // clients * clients) * 1e6


class _Rows:
    """A model that costs next to nothing: the answer is the input."""

    def predict_tensor(self, batch: np.ndarray) -> np.ndarray:
        """(N, 32) to (N, 32)."""
        return batch


def face_cost(model: object, n: int, clients: int, timeout_s: float | None = None) -> tuple[float, float]:
    """Microseconds of one request through the asyncio face, calls included, and mean batch size."""

    async def run() -> tuple[float, float]:
        async with DynamicBatcher(model, config=BatchConfig()) as batcher:
            cost = await _closed_loop(batcher, n, clients, timeout_s)
            return cost, batcher.stats().mean_batch_size

    return asyncio.run(run())


def idle_latency(sleep_s: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds, (n,), that a lone request takes beyond its model call, a sleep in a thread.

    With the batcher, and with nothing but the thread that asyncio itself would run the call in.
    """

    def model(batch: list[object]) -> list[object]:
        time.sleep(sleep_s)
        return batch

    async def run() -> list[tuple[float, float]]:
        times = []
        async with DynamicBatcher(model) as batcher:
            for _ in range(n):
                marks = [perf_counter()]
                await batcher.predict(0)
                marks.append(perf_counter())
                await asyncio.to_thread(model, [0])
                marks.append(perf_counter())
                model([0])
                marks.append(perf_counter())
                batched, bare, inline = np.diff(marks)
                times.append((batched - inline, bare - inline))
        return times

    batched, bare = np.array(asyncio.run(run())).T * 1e3
    return batched, bare


def _best(measure: Callable[[], float], repeats: int) -> float:
    gc.collect()
    return min(measure() for _ in range(repeats))


def print_costs(n: int) -> None:
    """Microseconds a request, the fastest of three runs."""
    print(f"\nCost, microseconds of CPU a request (fastest of 3 runs of {n:,})\n")
    print("| what | plain | with deadlines |\n|---|---|---|")
    for waiting in (1, 8, 32):
        plain, timed = (_best(lambda: core_cost(n, waiting, d), 3) for d in (False, True))  # noqa: B023
        print(f"| core, {waiting} at a time | {plain:.1f} | {timed:.1f} |")
    for clients in (1, 8, 32, 128):
        plain, timed = (min(face_cost(_Rows(), n, clients, t) for _ in range(3)) for t in (None, 1.0))
        print(f"| asyncio face, {clients} clients (mean batch {plain[1]:.0f}) | {plain[0]:.1f} | {timed[0]:.1f} |")
    batched, bare = idle_latency(0.002, 200)
    print(
        f"\nAdded to a lone request of a 2 ms model in a thread: median {np.median(batched):.3f} ms, p95 "
        f"{np.quantile(batched, 0.95):.3f} ms (asyncio.to_thread alone: {np.median(bare):.3f} ms, "
        f"{np.quantile(bare, 0.95):.3f} ms)"
    )


def print_simulation_a(n: int) -> None:
    """Mean and p99 by load."""
    print(f"\nSimulation A, {n:,} arrivals, milliseconds\n")
    print("| service, load | mean | p99 | work-conserving mean | p99 | ratio of means | Inoue's bound (no cap) |")
    print("|---|---|---|---|---|---|---|")
    for name, (line, _) in LINES.items():
        for load in LOADS:
            rate = load * 32 / line(32)
            arrivals = poisson(rate, n, seed=1)
            reference = work_conserving(arrivals, line) * 1e3
            ours = simulate(_plain(), arrivals, line).sojourns * 1e3
            print(
                f"| {name}, {load:.0%} | {ours.mean():.2f} | {np.quantile(ours, 0.99):.1f} | {reference.mean():.2f} | "
                f"{np.quantile(reference, 0.99):.1f} | {ours.mean() / reference.mean():.3f} | "
                f"{inoue(rate, line) * 1e3:.2f} |"
            )


def print_simulation_b(n: int, noise: float) -> None:
    """Goodput by overload; `noise` is the sigma of a lognormal factor on each call."""
    told = "" if not noise else f", service times with lognormal noise of {noise:.0%}"
    print(f"\nSimulation B, {n:,} arrivals{told}\n")
    print("| service, SLO, load | n*/l(n*) | goodput | share | late | rejected on arrival | given up later |")
    print("|---|---|---|---|---|---|---|")
    for name, (line, slo) in LINES.items():
        size = line.best_within(slo)
        capacity = size / line(size)
        for load in OVERLOADS:
            rng = np.random.default_rng(3)
            factor = lambda: float(rng.lognormal(0, noise)) if noise else 1.0  # noqa: B023, E731
            batcher = Batcher(Settings(target_s=slo, tick_s=TICK))
            service = lambda n: line(n) * factor()  # noqa: B023, E731
            run = simulate(batcher, poisson(load * capacity, n, seed=2), service, slo)
            reasons = batcher.stats().reasons
            gone = sum(reasons.get(r, 0) for r in ("dropped_early", "deadline_passed"))
            print(
                f"| {name}, {slo * 1e3:.0f} ms, {load:g}x | {capacity:.0f} | {run.goodput:.0f} | "
                f"{run.goodput / (min(1.0, load) * capacity):.3f} | {run.late / n:.3%} | "
                f"{reasons.get('deadline_unmeetable', 0)} | {gone} |"
            )


def _plain() -> Batcher:
    return Batcher(Settings(target_s=None, max_queue_size=10**9, tick_s=TICK))


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument(
        "--skip-costs", action="store_true", help="only the simulations: nothing depends on the machine"
    )
    options = parser.parse_args()
    if not options.skip_costs:
        print_costs(options.requests)
    print_simulation_a(options.requests)
    print_simulation_b(options.requests, noise=0.0)
    print_simulation_b(options.requests, noise=0.05)


if __name__ == "__main__":
    main()
