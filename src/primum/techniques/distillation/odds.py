"""The odds at which a taught network answers, set to its teacher's on cases that neither was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from primum.models.signature import Activation, Signature
from primum.task import Task
from primum.techniques.context import Context
from primum.techniques.distillation.outputs import outputs_in_parts

if TYPE_CHECKING:
    import torch

_DECIDING = (Task.BINARY, Task.MULTICLASS, Task.ORDINAL, Task.MULTILABEL)
_FEWEST = 30
_SURE = 2.0
"""Standard errors by which mean answers must differ: a move that chance explains brings more error than it removes."""


def match_odds(model: torch.nn.Module, context: Context) -> None:
    """Move the biases of the last layer, in place, so that mean answers on calibration inputs are the teacher's.

    A threshold is frozen on the original, and training data, which both networks have learned, do not show that one
    answers higher than the other elsewhere. Calibration inputs are unlabelled, and nobody of them is judged. Notes in
    `context` by how much, or why not; tasks that decide nothing, networks without a teacher, and those whose mean
    answers differ by less than chance explains stay as they are.
    """
    signature, inputs = context.signature, context.calibration
    if context.teacher is None or signature is None or signature.task not in _DECIDING:
        return
    if inputs is None or len(inputs) < _FEWEST:
        context.note(f"odds not matched to the original's: fewer than {_FEWEST} calibration inputs")
        return
    layer = None if signature.activation is Activation.IDENTITY else _last_layer(model, inputs[:2])
    if layer is None:
        context.note("odds not matched to the original's: no last layer gives the logits")
        return
    raw = outputs_in_parts(model, inputs)
    known = signature.probabilities(outputs_in_parts(context.teacher, inputs))
    if not _differ(signature.probabilities(raw) - known):
        context.note(f"odds left as they are: on {len(inputs)} calibration inputs chance explains how they differ")
        return
    shift = _shift(signature, raw.reshape(len(raw), -1).astype(np.float64), known.mean(axis=0))
    if shift is None:
        context.note("odds not matched to the original's: it gives a class no chance in any calibration case")
        return
    _add(layer, shift)
    told = ", ".join(f"{value:+.2g}" for value in shift)
    context.note(f"odds matched to the original's on {len(inputs)} calibration inputs: logits moved by {told}")


def _differ(differences: NDArray[np.float64]) -> bool:
    """Whether the mean of any column (N, classes) is more than chance explains."""
    error = differences.std(axis=0, ddof=1) / np.sqrt(len(differences))
    return bool((np.abs(differences.mean(axis=0)) > _SURE * error).any())


def _shift(signature: Signature, z: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """What to add to logits (N, outputs) for mean probabilities `wanted`; None where no finite number does."""
    alone = signature.outputs == 1 or signature.task is Task.MULTILABEL
    goal = wanted[[signature.positive]] if signature.outputs == 1 else wanted
    tiny = 1e-6
    if not ((goal > tiny) & (goal < 1 - tiny)).all():
        return None
    if alone:
        return np.array([_root(column, mean) for column, mean in zip(z.T, goal)])
    from scipy.optimize import minimize
    from scipy.special import logsumexp, softmax

    # Convex; its gradient is the mean answer less the one wanted.
    found = minimize(
        lambda b: float(logsumexp(z + b, axis=1).mean() - b @ goal),
        np.zeros(z.shape[1]),
        jac=lambda b: softmax(z + b, axis=1).mean(axis=0) - goal,
    )
    return np.asarray(found.x - found.x.mean())


def _root(z: NDArray[np.float64], mean: float) -> float:
    from scipy.optimize import brentq
    from scipy.special import expit, logit

    edge = float(logit(mean))
    return float(brentq(lambda b: float(expit(z + b).mean()) - mean, edge - z.max() - 1, edge - z.min() + 1))


def _last_layer(model: torch.nn.Module, example: NDArray[np.float32]) -> Any | None:
    """The linear layer or convolution, called once, whose outputs are the model's."""
    import torch
    from torch import nn

    called: list[nn.Module] = []
    given: dict[nn.Module, torch.Tensor] = {}

    def see(layer: nn.Module, _: Any, outputs: Any) -> None:
        called.append(layer)
        given[layer] = outputs

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    hooks = [m.register_forward_hook(see) for m in model.modules() if isinstance(m, kinds)]
    was, place = model.training, next((p.device for p in model.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad():
            last = model.eval()(torch.from_numpy(np.asarray(example, dtype=np.float32)).to(place)).flatten()
    finally:
        model.train(was)
        for hook in hooks:
            hook.remove()
    same = [m for m in given if called.count(m) == 1 and torch.equal(given[m].flatten(), last)]
    return same[-1] if same else None


def _add(layer: Any, shift: NDArray[np.float64]) -> None:
    import torch

    moved = torch.from_numpy(shift).to(layer.weight.device, layer.weight.dtype)
    with torch.no_grad():
        if layer.bias is None:
            layer.bias = torch.nn.Parameter(moved)
        else:
            layer.bias += moved
