"""The graph that every contestant but primum runs by itself, with the same ONNX Runtime settings.

Needs onnxruntime and numpy alone: it is imported in the peers' environments.
"""

from __future__ import annotations

import os

# ONNX Runtime reports what it runs unless it is told not to before it loads.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime as ort

SHAPE = tuple(int(n) for n in os.environ["BENCH_SHAPE"].split(","))
"""Of one case."""
BINARY = os.environ["BENCH_FORMAT"] == "binary"
"""Whether cases come as the bytes of little-endian float32 rather than as numbers in JSON."""
MODEL = os.environ["BENCH_MODEL"]


class Graph:
    """An ONNX file on one thread of the CPU, whose idle threads do not spin: as `primum serve` opens it."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
        self._names = [self._session.get_outputs()[0].name], self._session.get_inputs()[0].name

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Float32 (N, *SHAPE) to logits (N, 2)."""
        outputs, given = self._names
        return self._session.run(outputs, {given: batch})[0]


def from_bytes(data: bytes) -> np.ndarray:
    """(*SHAPE) of one case. Raises ValueError for another number of bytes."""
    return np.frombuffer(data, "<f4").reshape(SHAPE)


def from_numbers(numbers: list[float]) -> np.ndarray:
    """(*SHAPE) of one case. Raises ValueError or TypeError for what is no such case."""
    return np.asarray(numbers, np.float32).reshape(SHAPE)
