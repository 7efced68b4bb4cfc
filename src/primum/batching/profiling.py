"""Latency and memory by size, measured at load rather than on live patients."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

from primum.batching.model_call import ModelCall, Prepared
from primum.batching.policy import BucketPlan
from primum.batching.recovery import ran_out_of_memory
from primum.batching.request import Item
from primum.config.batching import BatchConfig, BatchStrategy

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
    measured = []
    for size in sizes_up_to(most):
        items = [Item(k, one.payload, bucket=one.bucket) for k in range(size)]
        try:
            times = _time(call, items, calls)
        except Exception as error:
            if not ran_out_of_memory(error):
                raise
            plan.ran_out_of_memory(size)
            break
        for seconds in times:
            plan.table.observe(size, seconds)
        if probe is not None:
            plan.took_memory(size, probe())
        measured.append(size)
    return tuple(measured)


def _time(call: ModelCall, items: Sequence[Item], calls: int) -> list[float]:
    times = []
    for _ in range(calls + 1):
        start = perf_counter()
        call.share(items, call.call(call.gather(items)))
        times.append(perf_counter() - start)
    return times[1:]


def peak_memory() -> float:
    """The largest resident size that this process has had, in bytes (POSIX)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) if sys.platform == "darwin" else peak * 1024.0


def probe_for(config: BatchConfig) -> MemoryProbe | None:
    """The probe where none is given: this process's own peak for the memory-aware strategy."""
    return peak_memory if config.strategy is BatchStrategy.MEMORY_AWARE else None
