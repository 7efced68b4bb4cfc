"""A network for processes of tests: its first feature says what befalls it, else it answers with the row's sum."""

import os
import time

import numpy as np

from primum.artifact.predictor import Proven
from primum.serving.executor.answers import Answers

EXIT, HANG, MEMORY, BALLAST, FAULT, SLEEP = -101.0, -102.0, -103.0, -104.0, -105.0, -106.0
"""End the process, never answer, lack memory where others are in the batch, hold 800 MB, raise, take half a second."""


class Session:
    """As a runtime's."""

    proven = Proven("fp32", "double", 1)
    batch_invariant = True

    def run(self, batch):
        asked = set(batch.reshape(len(batch), -1)[:, 0].tolist())
        if EXIT in asked:
            os._exit(7)
        if HANG in asked:
            time.sleep(600)
        if MEMORY in asked and len(batch) > 1:
            raise MemoryError
        if BALLAST in asked:
            np.ones(100_000_000)
        if FAULT in asked:
            raise ValueError("patient Smith")
        if SLEEP in asked:
            time.sleep(0.5)
        return batch.reshape(len(batch), -1).sum(1, keepdims=True)

    def close(self):
        pass


class Slow(Session):
    """Takes a millisecond more."""

    def run(self, batch):
        time.sleep(0.001)
        return super().run(batch)


def opened(network):
    """As the opener of executors."""
    return Session(), Answers(network.manifest)


def slow(network):
    """One whose calls are worth a process."""
    return Slow(), Answers(network.manifest)


def expected(rows):
    """(N, 2) probabilities that the double gives."""
    high = 1 / (1 + np.exp(-rows.reshape(len(rows), -1).sum(1, dtype=np.float32).astype(np.float64)))
    return np.stack([1 - high, high], axis=1)
