"""What a technique may use beside its config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError
from primum.models.signature import Signature

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TrainingData:
    """Labelled cases to train on: preprocessed, and no patient of them is ever judged.

    `inputs` float32 (N, *input_shape), possibly memory-mapped; `labels` as of an EvaluationSet: (N,) int64 class
    index, (N, L) int64 with -1 unknown (multi-label), (N, D) float64 (regression), (N, *spatial) uint8 classes
    (segmentation); `units` (N,) str, the patient of each case.
    """

    inputs: NDArray[np.float32]
    labels: NDArray[Any]
    units: NDArray[np.str_]

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.inputs)


@dataclass(frozen=True)
class Context:
    """One application of techniques. Fields are None where a caller has nothing to give; `need_` methods then raise."""

    seed: int = 0
    signature: Signature | None = None
    """Task, classes, activation and input shape of the model."""
    calibration: NDArray[np.float32] | None = None
    """Preprocessed inputs (N, *input_shape), without labels."""
    train: TrainingData | None = None
    teacher: torch.nn.Module | None = None
    """The original, in evaluation mode; never changed."""
    measure: Callable[[torch.nn.Module], float] | None = None
    """Milliseconds of one call at batch 1 on the recipe's target: exports, builds, times."""
    work: Path | None = None
    """A folder of this recipe's own, where training keeps what it needs to go on after a kill."""
    notes: list[str] = field(default_factory=list)
    """What a technique has to say of its result: nothing silent."""

    def note(self, text: str) -> None:
        """Add a note."""
        self.notes.append(text)

    def need_train(self, technique: str) -> TrainingData:
        """The training data; InputError where there are none."""
        if self.train is None or not len(self.train):
            raise InputError(f"{technique} trains: give --train-data, of patients that are not judged")
        return self.train

    def need_calibration(self, technique: str) -> NDArray[np.float32]:
        """The calibration inputs; InputError where there are none."""
        if self.calibration is None or not len(self.calibration):
            raise InputError(f"{technique} needs calibration data: representative inputs, without labels")
        return self.calibration

    def need_signature(self, technique: str) -> Signature:
        """The signature; InputError where there is none."""
        if self.signature is None:
            raise InputError(f"{technique} needs to know the model's task and classes")
        return self.signature

    def need_measure(self, technique: str) -> Callable[[torch.nn.Module], float]:
        """The measure of latency; InputError where there is none."""
        if self.measure is None:
            raise InputError(f"{technique} chooses by measured latency and was given no way to measure")
        return self.measure
