"""From what a data loader yields to probabilities: the same numbers whatever the runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from primum.artifact.manifest import Manifest
from primum.data.images import decode
from primum.errors import InputError, PrimumError


@dataclass(frozen=True)
class Proven:
    """What really ran, read back from the runtime after loading."""

    precision: str
    provider: str
    threads: int
    notes: tuple[str, ...] = ()


class Session(Protocol):
    """A loaded graph: raw outputs for a batch. Safe to call from several threads."""

    proven: Proven
    batch_invariant: bool
    """False: an item's answer depends on its batch (dynamic quantization), so items are run one by one."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (N, *input_shape) to float32 (N, outputs)."""

    def close(self) -> None:
        """Release the graph."""


Input = str | Path | Image.Image | NDArray[Any]


class Predictor:
    """An artifact, ready to predict. Use as a context manager; safe to share between threads."""

    def __init__(self, manifest: Manifest, session: Session) -> None:
        self.manifest, self.session = manifest, session

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns of what `predict` returns."""
        return self.manifest.signature.classes

    def preprocess(self, inputs: Input | Sequence[Input]) -> NDArray[np.float32]:
        """Paths, PIL images or raw image arrays to float32 (N, *input_shape)."""
        if isinstance(inputs, str | Path | Image.Image | np.ndarray):
            inputs = [inputs]
        batch = [self.manifest.preprocessing(_open(item)) for item in inputs]
        if not batch:
            raise InputError("predict was given no inputs")
        for array in batch:
            if array.shape != self.manifest.signature.input_shape:
                raise InputError(
                    f"an image is {array.shape} after preprocessing, the model takes "
                    f"{self.manifest.signature.input_shape}"
                )
        return np.stack(batch)

    def predict(self, inputs: Input | Sequence[Input]) -> NDArray[np.float64]:
        """Probabilities (N, classes) for one input or a sequence of inputs."""
        return self.predict_tensor(self.preprocess(inputs))

    def predict_tensor(self, batch: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities (N, classes) for a preprocessed batch, float32 (N, *input_shape)."""
        batch = np.ascontiguousarray(batch, dtype=np.float32)
        expected = self.manifest.signature.input_shape
        if batch.shape[1:] != expected:
            raise InputError(f"expected a batch of shape (N, {', '.join(map(str, expected))}), got {batch.shape}")
        if not len(batch):
            raise InputError("predict_tensor was given no inputs")
        return self.manifest.signature.probabilities(self.raw(batch))

    def raw(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw outputs (N, outputs) for a preprocessed batch."""
        if self.session.batch_invariant or len(batch) == 1:
            return self.session.run(batch)
        return np.concatenate([self.session.run(batch[i : i + 1]) for i in range(len(batch))])

    def decide(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """True where P(positive) reaches the artifact's decision threshold, shape (N,).

        Raises PrimumError where a probability is NaN: no answer is not a negative one.
        """
        missing = int(np.isnan(probabilities).any(axis=1).sum())
        if missing:
            raise PrimumError(f"the model gave no finite answer for {missing} of {len(probabilities)} inputs")
        return np.asarray(probabilities[:, self.manifest.signature.positive] >= self.manifest.threshold)

    def close(self) -> None:
        """Release the graph."""
        self.session.close()

    def __enter__(self) -> Predictor:
        """Return the predictor itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def _open(item: Input) -> Image.Image | NDArray[Any]:
    if not isinstance(item, str | Path):
        return item
    path = Path(item)
    try:
        return decode(path.read_bytes(), str(item))
    except OSError as error:
        raise InputError(f"{item}: cannot be read ({error.strerror})") from error
