"""What a change does to size and speed, beside what it does to patients."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.artifact.predictor import Predictor
from primum.benchmark.statistics import bootstrap_ratio
from primum.files import size_of
from primum.workflows.answers import run

_ROUNDS = 15
_CALLS = 3


@dataclass(frozen=True, slots=True)
class Impact:
    """Sizes in bytes and batch-1 latencies in ms, interleaved in this process; NaN where unknown.

    A quick look: `primum benchmark` times artifacts in processes of their own."""

    original_bytes: float
    optimized_bytes: float
    original_ms: float
    optimized_ms: float
    speedup: float
    """Median of the original over median of the optimized model; above 1 is faster."""
    speedup_lower: float
    speedup_upper: float

    @property
    def size_ratio(self) -> float:
        """Original over optimized; above 1 is smaller."""
        return self.original_bytes / self.optimized_bytes if self.optimized_bytes > 0 else nan


def measure_impact(
    original: Any, optimized: Any, inputs: NDArray[np.float32] | None, named: tuple[Any, Any] | None = None
) -> Impact:
    """Sizes of both models, and their times on the first input where there is one; `named`: models or artifact folders
    as the user gave them."""
    first_named, second_named = named or (original, optimized)
    sizes = _bytes_of(first_named), _bytes_of(second_named)
    if inputs is None or not len(inputs):
        return Impact(*sizes, *(nan,) * 5)
    taken = np.empty((2, _ROUNDS + 1, _CALLS))
    for turn in range(_ROUNDS + 1):
        for which, model in enumerate((original, optimized)):
            for call in range(_CALLS):
                start = time.perf_counter()
                run(model, inputs[:1])
                taken[which, turn, call] = 1000 * (time.perf_counter() - start)
    first, second = taken[:, 1:]
    ratio = bootstrap_ratio(first, second)
    return Impact(*sizes, float(np.median(first)), float(np.median(second)), *ratio)


def _bytes_of(model: Any) -> float:
    """Weights of a torch module, packed ones too; model files of an artifact folder. A predictor knows no files."""
    if isinstance(model, str | Path):
        return float(size_of(Path(model) / "model"))
    if isinstance(model, Predictor) or not hasattr(model, "state_dict"):
        return nan
    return float(sum(_bytes_of_value(value) for value in model.state_dict().values()))


def _bytes_of_value(value: Any) -> int:
    """Quantized modules keep tensors in tuples, and biases beside them."""
    if isinstance(value, tuple | list):
        return sum(_bytes_of_value(part) for part in value)
    return int(value.numel() * value.element_size()) if hasattr(value, "element_size") else 0
