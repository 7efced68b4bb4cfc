"""Latency and memory by size, measured at load rather than on live patients."""

from __future__ import annotations

import asyncio
import resource
import sys
from collections.abc import Awaitable, Callable, Generator, Iterator
from time import perf_counter
from typing import Any

from primum.batching.model_call import ModelCall, Prepared
from primum.batching.policy import BucketPlan
from primum.batching.recovery import ran_out_of_memory
from primum.batching.request import Item
from primum.config.batching import BatchConfig, BatchStrategy
from primum.errors import ExecutorHung

MemoryProbe = Callable[[], float]
"""Bytes at their peak, after a call."""


def sizes_up_to(most: int) -> Iterator[int]:
    """1, 2, 4, … and `most`."""
    size = 1
    while size < most:
        yield size
        size *= 2
    yield most


def profile(
    call: ModelCall,
    plan: BucketPlan,
    one: Prepared,
    most: int,
    calls: int = 5,
    probe: MemoryProbe | None = None,
) -> tuple[int, ...]:
    """Time `calls` calls of each size up to `most` with copies of `one`; the sizes measured.

    The first call of a size is left out: runtimes allocate and compile on it. A size that runs out of memory sets the
    bucket's cap and ends the profile; any other failure is raised.
    """
    steps = _steps(call, plan, one, most, calls, probe)
    try:
        asked = next(steps)
        while True:
            try:
                outputs = call.call(asked)
            # Whatever the model raises is judged where its size is known.
            except Exception as error:  # noqa: BLE001
                asked = steps.throw(error)
            else:
                asked = steps.send(outputs)
    except StopIteration as over:
        return _sizes(over)


async def profile_awaited(
    call: ModelCall, plan: BucketPlan, one: Prepared, most: int, calls: int, timeout_s: float
) -> tuple[int, ...]:
    """As `profile` for a coroutine function, awaited in the running loop; its memory is not this process's.

    Raises ExecutorHung where a call takes longer than `timeout_s`.
    """
    steps = _steps(call, plan, one, most, calls, None)
    try:
        asked = next(steps)
        while True:
            try:
                outputs = await _within(timeout_s, call.call(asked))
            # As above.
            except Exception as error:  # noqa: BLE001
                asked = steps.throw(error)
            else:
                asked = steps.send(outputs)
    except StopIteration as over:
        return _sizes(over)


async def _within(seconds: float, awaited: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(seconds) as limit:
            return await awaited
    except TimeoutError as error:
        raise (ExecutorHung(seconds) if limit.expired() else error) from error


def _sizes(over: StopIteration) -> tuple[int, ...]:
    sizes: tuple[int, ...] = over.value
    return sizes


def _steps(
    call: ModelCall, plan: BucketPlan, one: Prepared, most: int, calls: int, probe: MemoryProbe | None
) -> Generator[Any, Any, tuple[int, ...]]:
    """What to call the model with, one after the other; is sent what it returns, or thrown what it raises."""
    measured = []
    for size in sizes_up_to(most):
        items = [Item(k, one.payload, bucket=one.bucket) for k in range(size)]
        times = []
        try:
            for _ in range(calls + 1):
                start = perf_counter()
                call.share(items, (yield call.gather(items)))
                times.append(perf_counter() - start)
        except Exception as error:
            if not ran_out_of_memory(error):
                raise
            plan.ran_out_of_memory(size)
            break
        for seconds in times[1:]:
            plan.table.observe(size, seconds)
        if probe is not None:
            plan.took_memory(size, probe())
        measured.append(size)
    return tuple(measured)


def peak_memory() -> float:
    """The largest resident size that this process has had, in bytes (POSIX)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) if sys.platform == "darwin" else peak * 1024.0


def probe_for(config: BatchConfig) -> MemoryProbe | None:
    """The probe where none is given: this process's own peak for the memory-aware strategy."""
    return peak_memory if config.strategy is BatchStrategy.MEMORY_AWARE else None
