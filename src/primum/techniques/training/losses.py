"""The loss of each task against labels, from raw outputs as a signature describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError
from primum.models.signature import Activation, Signature
from primum.task import Task
from primum.techniques.training.objective import LossFunction

if TYPE_CHECKING:
    import torch

_TINY = 1e-6
_SMOOTH = 1.0


def stands_alone(signature: Signature) -> bool:
    """Whether each output is a probability of its own (a sigmoid), rather than one of a distribution."""
    single = signature.outputs == 1 and signature.task in (Task.BINARY, Task.SEGMENTATION)
    return single or signature.task is Task.MULTILABEL


def logits(outputs: torch.Tensor, signature: Signature) -> torch.Tensor:
    """Raw outputs as float32 logits (N, outputs, *spatial); values as they are (REGRESSION).

    Probabilities (activation IDENTITY) become the logits that give them, cut to [1e-6, 1 - 1e-6].
    """
    import torch

    wide = outputs.float().reshape(len(outputs), signature.outputs, *signature.spatial)
    if signature.task is Task.REGRESSION or signature.activation is not Activation.IDENTITY:
        return wide
    held = wide.clamp(_TINY, 1 - _TINY)
    return torch.logit(held) if stands_alone(signature) else held.log()


def task_loss(signature: Signature, labels: NDArray[Any] | None = None) -> LossFunction:
    """The loss of the task: outputs (N, outputs, *spatial) and labels as of TrainingData to the mean over cases.

    BINARY with one output and MULTILABEL: binary cross-entropy, over known labels alone; BINARY with two and
    MULTICLASS: cross-entropy; ORDINAL: cross-entropy + ranked probability score (Epstein 1969); REGRESSION: squared
    error in units of the standard deviation of `labels` (1 where they are not given); SEGMENTATION: cross-entropy +
    soft Dice of the structures (Milletari et al. 2016, arXiv:1606.04797).
    """
    if signature.task is Task.REGRESSION:
        return _squared(signature, spread(labels, signature.outputs))
    inner = {
        Task.BINARY: _bernoulli if signature.outputs == 1 else _categorical,
        Task.MULTICLASS: _categorical,
        Task.ORDINAL: _ordinal,
        Task.MULTILABEL: _findings,
        Task.SEGMENTATION: _segmentation,
    }[signature.task]

    def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return inner(logits(outputs, signature), labels, signature)

    return loss


def spread(labels: NDArray[Any] | None, outputs: int) -> NDArray[np.float32]:
    """Standard deviation of each column of (N, D) values, float32 (D,); 1 where it is 0 or not known."""
    if labels is None or not len(labels):
        return np.ones(outputs, np.float32)
    found = np.asarray(labels, np.float64).reshape(len(labels), -1).std(axis=0)
    return np.where(found > 0, found, 1.0).astype(np.float32)


def check_labels(labels: NDArray[Any], signature: Signature) -> tuple[str, ...]:
    """Notes on classes without a training case. Raises InputError where labels are none of the task."""
    labels, task = np.asarray(labels), signature.task
    if task is Task.REGRESSION:
        if labels.shape[1:] not in ((signature.outputs,), ()) or not np.isfinite(labels.astype(float)).all():
            raise InputError(f"training labels: {signature.outputs} finite value(s) a case are needed")
        return ()
    if task is Task.MULTILABEL:
        if labels.ndim != 2 or labels.shape[1] != signature.outputs or not np.isin(labels, (-1, 0, 1)).all():
            raise InputError(f"training labels: 1, 0 or -1 (unknown) for each of {signature.outputs} findings a case")
        absent = [c for c, column in zip(signature.classes, labels.T) if not (column == 1).any()]
        return (f"no training case has the finding {', '.join(absent)}",) if absent else ()
    classes = len(signature.classes)
    flat = task is not Task.SEGMENTATION
    if (flat and labels.ndim != 1) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"training labels: whole numbers from 0 to {classes - 1} are needed, "
            f"{'one a case' if flat else 'one a pixel'}"
        )
    absent = [name for i, name in enumerate(signature.classes) if not (labels == i).any()]
    return (f"no training case has the class {', '.join(absent)}",) if absent else ()


def _bernoulli(z: torch.Tensor, labels: torch.Tensor, signature: Signature) -> torch.Tensor:
    from torch.nn import functional

    return functional.binary_cross_entropy_with_logits(z[:, 0], (labels == signature.positive).to(z.dtype))


def _categorical(z: torch.Tensor, labels: torch.Tensor, signature: Signature) -> torch.Tensor:
    from torch.nn import functional

    return functional.cross_entropy(z, labels.long())


def _ordinal(z: torch.Tensor, labels: torch.Tensor, signature: Signature) -> torch.Tensor:
    import torch
    from torch.nn import functional

    below = z.softmax(dim=1).cumsum(dim=1)[:, :-1]
    grades = torch.arange(z.shape[1] - 1, device=z.device)
    truth = (labels.long()[:, None] <= grades).to(z.dtype)
    return functional.cross_entropy(z, labels.long()) + (below - truth).square().sum(dim=1).mean()


def _findings(z: torch.Tensor, labels: torch.Tensor, signature: Signature) -> torch.Tensor:
    from torch.nn import functional

    known = (labels >= 0).to(z.dtype)
    each = functional.binary_cross_entropy_with_logits(z, (labels == 1).to(z.dtype), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


def _squared(signature: Signature, scale: NDArray[np.float32]) -> LossFunction:
    def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        import torch

        unit = torch.from_numpy(scale).to(outputs.device)
        truth = labels.float().reshape(len(labels), signature.outputs)
        return ((logits(outputs, signature) - truth) / unit).square().mean()

    return loss


def _segmentation(z: torch.Tensor, labels: torch.Tensor, signature: Signature) -> torch.Tensor:
    import torch
    from torch.nn import functional

    labels = labels.long()
    if z.shape[1] == 1:
        truth = (labels == signature.positive).to(z.dtype)[:, None]
        entropy, shares = functional.binary_cross_entropy_with_logits(z, truth), z.sigmoid()
    else:
        entropy = functional.cross_entropy(z, labels)
        # Class 0 is the background, whose Dice says little of the structures.
        shares = z.softmax(dim=1)[:, 1:]
        truth = torch.movedim(functional.one_hot(labels, z.shape[1]), -1, 1)[:, 1:].to(z.dtype)
    axes = (0, *range(2, z.ndim))
    dice = (2 * (shares * truth).sum(axes) + _SMOOTH) / (shares.sum(axes) + truth.sum(axes) + _SMOOTH)
    return entropy + (1 - dice).mean()
