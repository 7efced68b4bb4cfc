"""From what a data loader yields to probabilities: the same numbers whatever the runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from primum.artifact.manifest import Manifest
from primum.data.decoding import decode_image
from primum.errors import InputError, PrimumError
from primum.task import Task

ONE_BY_ONE = "cases that come together run one after another: beside others an answer may be another one"
"""Note of a session that is not batch invariant."""


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
    """False: an answer depends on its batch by more than last bits, so items are run one by one, as they are judged."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (N, *input_shape) to float32 (N, outputs), or (N, outputs * pixels) of a segmentation model."""

    def close(self) -> None:
        """Release the graph."""


@dataclass(frozen=True)
class Guarded:
    """Answers, and which of them the original gave: `probabilities` (N, classes), `deferred` (N,)."""

    probabilities: NDArray[np.float64]
    deferred: NDArray[np.bool_]


def run_rows(session: Session, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Raw outputs (N, ...); one row at a time where an answer would depend on its batch."""
    if session.batch_invariant or len(batch) == 1:
        return session.run(batch)
    return np.concatenate([session.run(batch[i : i + 1]) for i in range(len(batch))])


Input = str | Path | Image.Image | NDArray[Any] | Mapping[str, Any]
"""What a data loader yields: a path, a picture, a raw array, a row of a table (column -> cell)."""


class Predictor:
    """An artifact, ready to predict. Use as a context manager; safe to share between threads."""

    def __init__(self, manifest: Manifest, session: Session) -> None:
        self.manifest, self.session = manifest, session

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns of what `predict` returns."""
        return self.manifest.signature.classes

    @property
    def unproven(self) -> bool:
        """True: delivered with --accept-inconclusive, so nothing shows that its answers are no worse than the
        original's (`primum.load` warns of it with `primum.UnprovenWarning`)."""
        return self.manifest.unproven

    def preprocess(self, inputs: Input | Sequence[Input]) -> NDArray[np.float32]:
        """Paths, PIL images, raw arrays or table rows to float32 (N, *input_shape)."""
        batch = [self.manifest.preprocessing(_open(item)) for item in self._items(inputs)]
        if not batch:
            raise InputError("predict was given no inputs")
        for array in batch:
            if array.shape != self.manifest.signature.input_shape:
                raise InputError(
                    f"an input is {array.shape} after preprocessing, the model takes "
                    f"{self.manifest.signature.input_shape}"
                )
        return np.stack(batch)

    def predict(self, inputs: Input | Sequence[Input]) -> NDArray[np.float64]:
        """Answers for one input or a sequence of inputs, as `predict_tensor` gives them."""
        return self.predict_tensor(self.preprocess(inputs))

    def predict_tensor(self, batch: NDArray[np.float32]) -> NDArray[np.float64]:
        """Answers for a preprocessed batch, float32 (N, *input_shape).

        Probabilities (N, classes); values (N, outputs) of a regression; (N, classes, *spatial) of a segmentation.
        """
        return self.manifest.signature.probabilities(self.raw(self.checked(batch)))

    def predict_guarded(self, inputs: Input | Sequence[Input]) -> Guarded:
        """Answers, and which the original gave: none of an artifact that has no guard, or whose band was 0."""
        return self.predict_tensor_guarded(self.preprocess(inputs))

    def predict_tensor_guarded(self, batch: NDArray[np.float32]) -> Guarded:
        """The same for a preprocessed batch, float32 (N, *input_shape)."""
        answers = self.predict_tensor(batch)
        return Guarded(answers, np.zeros(len(answers), dtype=np.bool_))

    def checked(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """`batch` as contiguous float32 (N, *input_shape); InputError where it has another shape or no rows."""
        batch = np.ascontiguousarray(batch, dtype=np.float32)
        expected = self.manifest.signature.input_shape
        if batch.shape[1:] != expected:
            raise InputError(f"expected a batch of shape (N, {', '.join(map(str, expected))}), got {batch.shape}")
        if not len(batch):
            raise InputError("predict_tensor was given no inputs")
        return batch

    def raw(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw outputs (N, ...) for a preprocessed batch."""
        return run_rows(self.session, batch)

    def decide(self, probabilities: NDArray[np.float64]) -> NDArray[Any]:
        """Decisions from what `predict` gave.

        BINARY: True where P(positive) reaches the artifact's threshold, (N,); MULTILABEL the same of each label,
        (N, L); MULTICLASS and ORDINAL: index of the class, (N,) int64; SEGMENTATION: class of each pixel,
        (N, *spatial) int64. Raises PrimumError where a probability is NaN (no answer is not a negative one), and for
        a REGRESSION, which decides nothing.
        """
        signature, rule = self.manifest.signature, self.manifest.rule
        missing = int(np.isnan(probabilities).reshape(len(probabilities), -1).any(axis=1).sum())
        if missing:
            raise PrimumError(f"the model gave no finite answer for {missing} of {len(probabilities)} inputs")
        if signature.task is Task.SEGMENTATION:
            return np.asarray(probabilities.argmax(axis=1))
        if rule is None:
            raise PrimumError("a regression model gives values, not decisions")
        scores = probabilities[:, signature.positive] if signature.task is Task.BINARY else probabilities
        decisions = rule.decisions(scores)
        return decisions == 1 if signature.task in (Task.BINARY, Task.MULTILABEL) else decisions

    def _items(self, inputs: Input | Sequence[Input]) -> Sequence[Input]:
        """One input as a sequence of one; an array is one input, or a batch where it has one axis more."""
        if isinstance(inputs, np.ndarray) and self.manifest.preprocessing.kind == "array":
            axes = len(self.manifest.signature.input_shape) - self.manifest.preprocessing.add_channel
            return [inputs] if inputs.ndim <= axes else list(inputs)
        return [inputs] if isinstance(inputs, str | Path | Image.Image | np.ndarray | Mapping) else inputs

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


def _open(item: Input) -> Any:
    if not isinstance(item, str | Path):
        return item
    path = Path(item)
    try:
        return decode_image(path.read_bytes(), str(item))
    except OSError as error:
        raise InputError(f"{item}: cannot be read ({error.strerror})") from error
