"""What executors of tests are asked."""

import numpy as np
from served import FEATURES

from primum.batching import BatchConfig, DynamicBatcher
from primum.serving.executor.program import Asked, ProgramCall

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
