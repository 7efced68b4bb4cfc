"""What a model takes and gives."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.special import expit

from primum.errors import InputError
from primum.task import Task


class Activation(StrEnum):
    """What turns the graph's raw outputs into probabilities."""

    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"
    IDENTITY = "identity"
    """The model gives probabilities (or, for regression, values) itself."""


_ALLOWED = {
    Task.BINARY: (Activation.SIGMOID, Activation.SOFTMAX, Activation.IDENTITY),
    Task.MULTICLASS: (Activation.SOFTMAX, Activation.IDENTITY),
    Task.ORDINAL: (Activation.SOFTMAX, Activation.IDENTITY),
    Task.MULTILABEL: (Activation.SIGMOID, Activation.IDENTITY),
    Task.REGRESSION: (Activation.IDENTITY,),
    Task.SEGMENTATION: (Activation.SIGMOID, Activation.SOFTMAX, Activation.IDENTITY),
}
_MAX_STRUCTURES = 256
_ROUNDING = 1e-5
"""A probability computed in float32 may miss 0 or 1 by this much."""


class Signature(BaseModel):
    """Shapes without the batch axis; the graph takes float32 (N, *input_shape), gives float32 (N, outputs, *spatial),
    which runtimes may hand on as (N, outputs * prod(spatial)).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    input_shape: tuple[int, ...]
    outputs: int
    """Number of outputs; channels for SEGMENTATION."""
    task: Task = Task.BINARY
    classes: tuple[str, ...]
    """Names of the classes, labels (MULTILABEL), values (REGRESSION) or structures (SEGMENTATION), in the order of the
    outputs."""
    positive: int = 1
    """BINARY: index in `classes` of the positive (diseased) class. A single output is about this class; of two
    outputs, each is about the class at its place."""
    activation: Activation = Activation.SIGMOID
    spatial: tuple[int, ...] = ()
    """SEGMENTATION: axes of the output after the channels."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of what labels say where a model is judged: of a BINARY one 0 is negative and 1 positive, whatever the
        order of its classes."""
        swapped = self.task is Task.BINARY and self.positive == 0
        return self.classes[::-1] if swapped else self.classes

    def probabilities(self, raw: NDArray[np.float32]) -> NDArray[np.float64]:
        """Raw outputs to what `predict` returns; NaN stays NaN.

        BINARY (N, 2), MULTICLASS and ORDINAL (N, K), MULTILABEL (N, L) probabilities in the order of `classes`;
        REGRESSION (N, D) values; SEGMENTATION (N, K, *spatial) probabilities.
        """
        wide = np.asarray(raw, np.float64).reshape(len(raw), self.outputs, *self.spatial)
        single = self.outputs == 1 and self.task in (Task.BINARY, Task.SEGMENTATION)
        if self.activation is Activation.SOFTMAX and not single:
            return _softmax(wide)
        one = wide if self.activation is Activation.IDENTITY else _sigmoid(wide)
        if not single:
            return one
        both = np.empty((len(one), 2, *self.spatial))
        both[:, self.positive] = one[:, 0]
        np.subtract(1.0, one[:, 0], out=both[:, 1 - self.positive])
        return both

    def positive_probability(self, raw: NDArray[np.float32]) -> NDArray[np.float64]:
        """BINARY: P(positive class), shape (N,)."""
        return self.probabilities(raw)[:, self.positive]

    def scores(self, raw: NDArray[np.float32]) -> NDArray[np.float64]:
        """What validation judges: (N,) P(positive) for BINARY, else what `probabilities` gives.

        Raises InputError for SEGMENTATION, whose scores are Dice against the true masks.
        """
        if self.task is Task.SEGMENTATION:
            raise InputError("the masks of a segmentation model are scored against true masks, not by themselves")
        return self.positive_probability(raw) if self.task is Task.BINARY else self.probabilities(raw)

    def class_map(self, raw: NDArray[np.float32]) -> NDArray[np.uint8]:
        """SEGMENTATION: the most probable class of every pixel, (N, *spatial); of equal ones the first."""
        return np.asarray(self.probabilities(raw).argmax(axis=1), dtype=np.uint8)


def infer_signature(
    raw: NDArray[np.float32],
    input_shape: tuple[int, ...],
    classes: tuple[str, ...],
    positive: str | None,
    activation: Activation | None,
    far: NDArray[np.float32] | None = None,
    task: Task = Task.BINARY,
) -> Signature:
    """The signature, from a forward pass on a few cases: `raw` (N, outputs, ...), and `far` the same on `far_inputs`.

    An activation that is not given is inferred: outputs that already lie in [0, 1] (and, where they are one
    distribution, add up to one) are probabilities; otherwise they are logits, of a sigmoid where each stands alone
    (one output, MULTILABEL), else of a softmax. SEGMENTATION without `classes`: structures are called by their number.
    Raises InputError where outputs and classes do not match the task, an output is not finite, or IDENTITY is given
    for outputs that are no probabilities.
    """
    given = np.asarray(raw)
    finite = np.isfinite(given.reshape(len(given), -1)).all(axis=1)
    if not finite.all():
        raise InputError(
            f"the model gives NaN or infinite outputs on {int((~finite).sum())} of {len(given)} "
            "cases; there is nothing to optimize until it gives finite ones"
        )
    if task is Task.SEGMENTATION:
        outputs, spatial, classes = _structures(given, classes)
    else:
        outputs, spatial = given.reshape(len(given), -1).shape[1], ()
        _check_outputs(task, outputs, classes)
    if positive is not None and (task is not Task.BINARY or positive not in classes):
        what = f"is not one of the labels: {', '.join(classes)}" if task is Task.BINARY else f"but it is {task.value}"
        raise InputError(f"--positive-class {positive!r} {what}")
    _check_activation(task, outputs, activation)
    seen = _with_far(given, far, (outputs, *spatial))
    if activation is Activation.IDENTITY and task is not Task.REGRESSION:
        _check_probabilities(task, seen)
    return Signature(
        input_shape=input_shape,
        outputs=outputs,
        task=task,
        classes=classes,
        positive=classes.index(positive) if positive is not None else 1,
        activation=activation or _infer_activation(task, seen),
        spatial=spatial,
    )


def far_inputs(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inputs far outside the usual range, shape (9, *input_shape): they tell small logits from probabilities."""
    noise = np.random.default_rng(0).normal(0.0, 10.0, (4, *batch.shape[1:])).astype(np.float32)
    return np.asarray(np.concatenate([-10.0 * batch[:1], noise, -noise]), dtype=np.float32)


def _check_outputs(task: Task, outputs: int, classes: tuple[str, ...]) -> None:
    named = f"{', '.join(classes[:6])}{', …' if len(classes) > 6 else ''}"
    if task is Task.BINARY:
        if len(classes) != 2:
            raise InputError(
                f"the labels have {len(classes)} classes ({named}), a binary model decides between two: "
                "give --task multiclass"
            )
        if outputs not in (1, 2):
            raise InputError(
                f"the labels have 2 classes but the model gives {outputs} outputs; where it knows more classes than "
                "these cases have, name all of them in the order of its outputs with --classes"
            )
    elif outputs != len(classes):
        what, hint = {
            Task.MULTILABEL: ("columns", "--label-columns must name the label of each output, in their order"),
            Task.REGRESSION: ("columns", "--label-columns must name the value of each output, in their order"),
        }.get(task, ("classes", "mend the labels, or name the class of each output, in their order, with --classes"))
        raise InputError(
            f"the labels have {len(classes)} {what} ({named}) but the model gives {outputs} outputs; {hint}"
        )


def _structures(raw: NDArray[np.float32], classes: tuple[str, ...]) -> tuple[int, tuple[int, ...], tuple[str, ...]]:
    """Channels, spatial axes and names of the structures."""
    if raw.ndim < 3:
        raise InputError(
            f"the model gives outputs of shape (N, {', '.join(map(str, raw.shape[1:]))}); a segmentation model gives "
            "(N, classes, height, width)"
        )
    outputs = raw.shape[1]
    count = max(outputs, 2)
    if count > _MAX_STRUCTURES:
        raise InputError(f"the model gives {outputs} channels; masks have at most {_MAX_STRUCTURES} classes")
    if classes and len(classes) != count:
        raise InputError(
            f"--classes names {len(classes)} structures, the model gives {outputs} channel(s), which are {count} "
            "classes, the background among them"
        )
    return outputs, raw.shape[2:], classes or tuple(str(i) for i in range(count))


def _check_activation(task: Task, outputs: int, activation: Activation | None) -> None:
    allowed = _ALLOWED[task]
    if task in (Task.BINARY, Task.SEGMENTATION):
        wrong = Activation.SOFTMAX if outputs == 1 else Activation.SIGMOID
        allowed = tuple(a for a in allowed if a is not wrong)
    if activation is not None and activation not in allowed:
        raise InputError(
            f"the activation of a {task.value} model with {outputs} output(s) is {' or '.join(allowed)}, "
            f"not {activation.value}"
        )


def _check_probabilities(task: Task, outputs: NDArray[np.float32]) -> None:
    """Logits taken for probabilities would be cut by every threshold at the wrong place."""
    low, high = float(outputs.min()), float(outputs.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        alone = outputs.shape[1] == 1 or task is Task.MULTILABEL
        raise InputError(
            f"--activation identity says that the model gives probabilities, but its outputs lie from {low:.4g} to "
            f"{high:.4g}: they are logits; give --activation {'sigmoid' if alone else 'softmax'}, or leave it out"
        )


def _with_far(raw: NDArray[np.float32], far: NDArray[np.float32] | None, shape: tuple[int, ...]) -> NDArray[np.float32]:
    near = raw.reshape(len(raw), *shape)
    if far is None:
        return near
    wide = np.asarray(far).reshape(len(far), *shape)
    return np.concatenate([near, wide[np.isfinite(wide.reshape(len(far), -1)).all(axis=1)]])


def _infer_activation(task: Task, outputs: NDArray[np.float32]) -> Activation:
    if task is Task.REGRESSION:
        return Activation.IDENTITY
    within = bool(((outputs >= 0) & (outputs <= 1)).all())
    if outputs.shape[1] == 1 or task is Task.MULTILABEL:
        return Activation.IDENTITY if within else Activation.SIGMOID
    adds_up = bool(np.allclose(outputs.sum(axis=1), 1.0, atol=1e-4))
    return Activation.IDENTITY if within and adds_up else Activation.SOFTMAX


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(expit(x))


def _softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))
