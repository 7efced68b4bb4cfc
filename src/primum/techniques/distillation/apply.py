"""The specification's apply_distillation: from two models and data to a taught student, with what it keeps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError
from primum.models.signature import Signature, far_inputs, infer_signature
from primum.task import Task
from primum.techniques.context import Context, TrainingData
from primum.techniques.distillation.config import Distillation
from primum.techniques.distillation.loader_trainer import labelled
from primum.techniques.distillation.objective import DistillationObjective
from primum.techniques.distillation.outputs import outputs_of
from primum.techniques.training import TrainingResult, check_labels, train, usual_augmentation
from primum.techniques.training.parts import hold_out

if TYPE_CHECKING:
    import torch

_HELD_BACK = 0.2


@dataclass(frozen=True)
class DistillationResult:
    """A taught student, and what it keeps of its teacher."""

    model: torch.nn.Module
    """The student, trained in place, in evaluation mode."""
    compression_ratio: float
    """Bytes of the teacher's parameters for each byte of the student's."""
    accuracy_retention: float
    """Student's accuracy / teacher's on cases held back from training (of pixels: SEGMENTATION; of findings:
    MULTILABEL); NaN where there are no labels, for values, and where the teacher has none right."""
    teacher_accuracy: float
    student_accuracy: float
    agreement: float
    """Share of those cases (pixels, findings) where both decide alike; NaN for values."""
    held_back: int
    """Cases of that measurement."""
    training: TrainingResult
    notes: tuple[str, ...]

    @property
    def student_model(self) -> torch.nn.Module:
        """`model`."""
        return self.model


def apply_distillation(
    teacher_model: torch.nn.Module,
    student_model: torch.nn.Module,
    distillation_data: Any,
    *,
    config: Distillation | None = None,
    units: NDArray[np.str_] | None = None,
    signature: Signature | None = None,
    seed: int = 0,
) -> DistillationResult:
    """Teach `student_model` in place with `distillation_data`, and measure it on a fifth of the patients held back.

    Data: a DataLoader or another iterable of (inputs, labels) batches, or a pair of arrays (inputs, labels). Inputs
    are float (N, *shape); labels of 0, 1 and -1 are classes or findings, other floats are values. Without labels the
    teacher alone teaches. `units`: the patient of each case; without them every case counts as a patient, and a note
    says so. The task is inferred from outputs and labels unless `signature` names it. Raises InputError and
    TrialError as `train`.
    """
    inputs, labels = gather(distillation_data)
    context = Context(seed=seed)
    if units is None:
        context.note("no patients were given: every case counts as one, so the part held back may share patients")
        units = np.array([f"case {i}" for i in range(len(inputs))])
    if len(units) != len(inputs):
        raise InputError(f"{len(units)} units for {len(inputs)} cases")
    config = config or Distillation()
    raw = outputs_of(teacher_model, inputs)
    if labels is None:
        context.note("no labels: the teacher alone teaches, and accuracy cannot be measured")
        config = config.model_copy(update={"alpha": 1.0})
    signature = signature or _infer(inputs, raw, labels, teacher_model)
    context = Context(seed=seed, signature=signature, notes=context.notes)
    if labels is not None:
        context.notes.extend(check_labels(labels, signature))
    taught = labels if labels is not None else _stand_in(signature, raw)
    fit, held = hold_out(TrainingData(inputs, taught, units), _HELD_BACK)
    if not len(held):
        context.note("too few patients to hold any back: accuracy was not measured")
    data = TrainingData(inputs[fit], taught[fit], units[fit])
    objective = DistillationObjective(teacher_model, signature, config, data.labels)
    augment = usual_augmentation(signature.input_shape) if config.augment else None
    training = train(student_model, objective, data, config, context, augment, name="distillation")
    known = None if labels is None else labels[held]
    scores = _compare(signature, raw[held], outputs_of(student_model, inputs[held]), known)
    ratio = _bytes(teacher_model) / max(_bytes(student_model), 1)
    return DistillationResult(student_model, ratio, *scores, len(held), training, tuple(context.notes))


def gather(data: Any) -> tuple[NDArray[np.float32], NDArray[Any] | None]:
    """Inputs float32 (N, *shape) and labels, or None, of a pair of arrays or of all batches of an iterable."""
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(_is_array(x) for x in data):
        inputs, labels = _inputs(data[0]), np.asarray(data[1])
        if len(inputs) != len(labels):
            raise InputError(f"distillation data: {len(inputs)} inputs and {len(labels)} labels")
        return inputs, _whole(labels)
    if _is_array(data):
        return _inputs(data), None
    if not isinstance(data, Iterable) or isinstance(data, (str, Mapping)):
        raise InputError("distillation data: give a DataLoader, an iterable of (inputs, labels), or a pair of arrays")
    pairs = [labelled(item) for item in data]
    if not pairs:
        raise InputError("distillation data: the loader gave nothing")
    if not all(_is_array(x) for x, _ in pairs):
        raise InputError("distillation data: inputs of one array are needed; for several give DistillationTrainer")
    inputs = np.concatenate([_inputs(x) for x, _ in pairs])
    if any(y is None for _, y in pairs):
        return inputs, None
    return inputs, _whole(np.concatenate([np.atleast_1d(np.asarray(y)) for _, y in pairs]))


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and getattr(value, "ndim", 0) > 0


def _inputs(values: Any) -> NDArray[np.float32]:
    found = np.asarray(values)
    if found.dtype.kind in "iu" and found.dtype != np.uint8:
        raise InputError(
            f"distillation data: inputs of {found.dtype} are no preprocessed values; for token ids give "
            "DistillationTrainer"
        )
    return found.astype(np.float32, copy=False)


def _whole(labels: NDArray[Any]) -> NDArray[Any]:
    """Booleans, and floats that are all 0, 1 or -1, as int64; one column of whole numbers as (N,)."""
    if labels.dtype.kind == "b" or (labels.dtype.kind == "f" and bool(np.isin(labels, (-1, 0, 1)).all())):
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu" or labels.ndim > 2:
        return labels
    whole = labels.astype(np.int64)
    return whole[:, 0] if whole.shape[1:] == (1,) else whole


def _infer(
    inputs: NDArray[np.float32], raw: NDArray[np.float32], labels: NDArray[Any] | None, teacher: torch.nn.Module
) -> Signature:
    outputs = raw.shape[1] if raw.ndim > 1 else 1
    if raw.ndim > 2:
        task = Task.SEGMENTATION
    elif labels is not None and labels.dtype.kind == "f":
        task = Task.REGRESSION
    elif labels is not None and labels.ndim == 2:
        task = Task.MULTILABEL
    else:
        task = Task.BINARY if outputs <= 2 else Task.MULTICLASS
    count = 0 if task is Task.SEGMENTATION else 2 if task is Task.BINARY else outputs
    names = tuple(str(i) for i in range(count))
    far = None if task is Task.SEGMENTATION else outputs_of(teacher, far_inputs(inputs))
    return infer_signature(raw[:64], inputs.shape[1:], names, None, None, far, task)


def _stand_in(signature: Signature, raw: NDArray[np.float32]) -> NDArray[Any]:
    """Labels that stratify the held-out patients where there are none: the teacher's decisions."""
    return _decisions(signature, raw) if signature.task is not Task.REGRESSION else np.asarray(raw, np.float64)


def _decisions(signature: Signature, raw: NDArray[np.float32]) -> NDArray[np.int64]:
    shares = signature.probabilities(raw)
    return (shares >= 0.5).astype(np.int64) if signature.task is Task.MULTILABEL else shares.argmax(axis=1)


def _compare(
    signature: Signature, teacher: NDArray[np.float32], student: NDArray[np.float32], labels: NDArray[Any] | None
) -> tuple[float, float, float, float]:
    """Retention, accuracy of teacher and student, agreement."""
    if signature.task is Task.REGRESSION or not len(teacher):
        return math.nan, math.nan, math.nan, math.nan
    theirs, mine = _decisions(signature, teacher), _decisions(signature, student)
    agreement = float((theirs == mine).mean())
    if labels is None:
        return math.nan, math.nan, math.nan, agreement
    known = labels >= 0
    first, second = (float((x == labels)[known].mean()) if known.any() else math.nan for x in (theirs, mine))
    return (second / first if first > 0 else math.nan), first, second, agreement


def _bytes(model: torch.nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())
