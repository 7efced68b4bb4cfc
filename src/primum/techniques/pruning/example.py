"""An input to trace a network with: given, known from the context, or found by trying."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError
from primum.techniques.context import Context
from primum.techniques.network import refusal

if TYPE_CHECKING:
    import torch

_SIDES = {1: (256, 1024, 128, 5000, 64), 2: (64, 224, 32, 28, 128, 256, 512), 3: (32, 64, 16, 96, 128)}


def example_input(
    model: torch.nn.Module, given: torch.Tensor | NDArray[Any] | None, context: Context
) -> tuple[torch.Tensor, str | None]:
    """One case (1, *input_shape) on the model's device, and a note where its shape was guessed: of whole numbers where
    `given` is (token ids), else in the model's own type.

    From `given` (batch first), else calibration, the signature, the training data; else a shape that the network
    accepts is searched, from its first layer. Raises InputError where none is known and none fits, and where the
    model does not take what is given.
    """
    import torch

    known: Any = given
    if given is not None and not isinstance(given, (torch.Tensor, np.ndarray)):
        raise InputError(
            f"example_inputs must be one tensor or array, a batch (N, ...), not {type(given).__name__}: "
            "for a model of several inputs give one of a single input that wraps it"
        )
    if known is None and context.calibration is not None and len(context.calibration):
        known = np.asarray(context.calibration[:1])
    if known is None and context.signature is not None:
        known = torch.randn(1, *context.signature.input_shape, generator=torch.Generator().manual_seed(context.seed))
    if known is None and context.train is not None and len(context.train):
        known = np.asarray(context.train.inputs[:1])
    if known is None:
        shape = _guess(model)
        known = torch.randn(1, *shape, generator=torch.Generator().manual_seed(context.seed))
        note = f"no example input was given: traced with a guessed shape {shape}, which the network accepts"
        return _placed(known, model), note
    tensor = torch.as_tensor(known)
    if tensor.ndim < 2 or not len(tensor):
        raise InputError(f"example_inputs must be a batch (N, ...), not of shape {tuple(tensor.shape)}")
    placed = _placed(tensor[:1], model)
    if given is not None and not placed.is_floating_point() and refusal(model, placed) is not None:
        placed = _placed(tensor[:1].float(), model)  # images of whole numbers
    if given is not None and (why := refusal(model, placed)) is not None:
        raise InputError(
            f"the model does not take example_inputs of shape (N, {', '.join(map(str, tensor.shape[1:]))}) "
            f"and type {tensor.dtype}: {why}"
        )
    return placed, None


def _placed(tensor: torch.Tensor, model: torch.nn.Module) -> torch.Tensor:
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    if not tensor.is_floating_point():
        return tensor if first is None else tensor.to(first.device)
    return tensor.to(first.device, first.dtype) if first is not None else tensor.float()


def _guess(model: torch.nn.Module) -> tuple[int, ...]:
    """A shape that the network accepts, from its first convolution or linear layer."""
    import torch
    from torch import nn

    first = next((m for m in model.modules() if isinstance(m, (nn.modules.conv._ConvNd, nn.Linear))), None)
    if isinstance(first, nn.Linear):
        candidates: Any = [(first.in_features,)]
    elif first is not None:
        axes = first.weight.ndim - 2
        candidates = [(first.in_channels, *(side,) * axes) for side in _SIDES[axes]]
    else:
        candidates = []
    for shape in itertools.chain(candidates):
        if refusal(model, _placed(torch.zeros(1, *shape), model)) is None:
            return tuple(shape)
    raise InputError("the shape of the model's input is not known and cannot be guessed: give example_inputs=(1, ...)")
