"""What a model takes and gives."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from primum.errors import InputError
from primum.task import Task


class Activation(StrEnum):
    """What turns the graph's raw outputs into probabilities."""

    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"
    IDENTITY = "identity"
    """The model gives probabilities itself."""


class Signature(BaseModel):
    """Shapes without the batch axis; the graph takes float32 (N, *input_shape), gives float32 (N, outputs)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    input_shape: tuple[int, ...]
    outputs: int
    task: Task = Task.BINARY
    classes: tuple[str, ...]
    positive: int = 1
    """Index in `classes` of the positive (diseased) class. A single output is about this class; of two outputs, each
    is about the class at its place."""
    activation: Activation = Activation.SIGMOID

    def probabilities(self, raw: NDArray[np.float32]) -> NDArray[np.float64]:
        """Raw outputs (N, outputs) to probabilities (N, 2) in the order of `classes`; NaN stays NaN."""
        wide = np.asarray(raw, np.float64).reshape(len(raw), -1)
        if self.outputs == 1:
            one = _sigmoid(wide[:, 0]) if self.activation is not Activation.IDENTITY else wide[:, 0]
            columns = [1.0 - one, one] if self.positive == 1 else [one, 1.0 - one]
            return np.stack(columns, axis=1)
        return wide if self.activation is Activation.IDENTITY else _softmax(wide)

    def positive_probability(self, raw: NDArray[np.float32]) -> NDArray[np.float64]:
        """P(positive class), shape (N,)."""
        return self.probabilities(raw)[:, self.positive]


def infer_signature(
    raw: NDArray[np.float32],
    input_shape: tuple[int, ...],
    classes: tuple[str, ...],
    positive: str | None,
    activation: Activation | None,
    far: NDArray[np.float32] | None = None,
) -> Signature:
    """The signature, from a forward pass on a few cases: `raw` (N, outputs), and `far` (M, outputs) on `far_inputs`.

    An activation that is not given is inferred: outputs that already lie in [0, 1] (and, for two outputs, add up to
    one) are probabilities; otherwise one output is a logit (sigmoid) and two are logits (softmax).
    Raises InputError where outputs and classes do not match, or an output is not finite.
    """
    flat = np.asarray(raw).reshape(len(raw), -1)
    outputs = flat.shape[1]
    if not np.isfinite(flat).all():
        raise InputError(
            f"the model gives NaN or infinite outputs on {int((~np.isfinite(flat)).any(axis=1).sum())} of {len(flat)} "
            "cases; there is nothing to optimize until it gives finite ones"
        )
    if len(classes) != 2:
        raise InputError(
            f"the labels have {len(classes)} classes ({', '.join(classes[:6])}); binary models are judged so far"
        )
    if outputs not in (1, 2):
        raise InputError(f"the labels have 2 classes but the model gives {outputs} outputs")
    if positive is not None and positive not in classes:
        raise InputError(f"--positive-class {positive!r} is not one of the labels: {', '.join(classes)}")
    return Signature(
        input_shape=input_shape,
        outputs=outputs,
        classes=classes,
        positive=classes.index(positive) if positive is not None else 1,
        activation=activation or _infer_activation(_with_far(flat, far)),
    )


def far_inputs(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inputs far outside the usual range, shape (9, *input_shape): they tell small logits from probabilities."""
    noise = np.random.default_rng(0).normal(0.0, 10.0, (4, *batch.shape[1:])).astype(np.float32)
    return np.asarray(np.concatenate([-10.0 * batch[:1], noise, -noise]), dtype=np.float32)


def _with_far(flat: NDArray[np.float32], far: NDArray[np.float32] | None) -> NDArray[np.float32]:
    if far is None:
        return flat
    wide = np.asarray(far).reshape(len(far), -1)
    return np.concatenate([flat, wide[np.isfinite(wide).all(axis=1)]])


def _infer_activation(flat: NDArray[np.float32]) -> Activation:
    within = bool(((flat >= 0) & (flat <= 1)).all())
    if flat.shape[1] == 1:
        return Activation.IDENTITY if within else Activation.SIGMOID
    adds_up = bool(np.allclose(flat.sum(axis=1), 1.0, atol=1e-4))
    return Activation.IDENTITY if within and adds_up else Activation.SOFTMAX


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0 / (1.0 + e), e / (1.0 + e))


def _softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))
