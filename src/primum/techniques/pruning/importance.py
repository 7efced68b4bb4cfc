"""How much each channel matters: by its weights, by the loss, or by what it carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from primum.errors import TrialError
from primum.techniques.pruning.graph import CONV, Member

Weigh = Callable[[torch.Tensor], torch.Tensor]
Scores = Callable[[tuple[Member, ...]], NDArray[np.float64]]


def magnitude(members: tuple[Member, ...]) -> NDArray[np.float64]:
    """Mean over the layers of the sum of squared weights of each channel (Fang et al. 2023, group L2)."""
    return _weighed(members, lambda weight: weight.detach() ** 2)


def taylor(members: tuple[Member, ...]) -> NDArray[np.float64]:
    """Mean over the layers of the sum of |weight * gradient| of each channel (Molchanov et al. 2019, CVPR).

    The gradients of the loss must lie on the weights.
    """
    return _weighed(members, _saliency)


def activation(model: nn.Module, inputs: NDArray[np.float32], batch: int = 32) -> Scores:
    """Mean absolute value of each channel as the layers that read it see it, over `inputs` (N, *input_shape)."""
    sums: dict[Any, torch.Tensor] = {}
    counts: dict[Any, int] = {}

    def note(layer: nn.Module, args: tuple[Any, ...]) -> None:
        x = args[0].detach().double().abs()
        axis = 1 if isinstance(layer, CONV) and x.ndim == layer.weight.ndim else (0 if isinstance(layer, CONV) else -1)
        x = x.movedim(axis, -1).flatten(0, -2)
        sums[layer] = sums.get(layer, 0) + x.sum(0).cpu()
        counts[layer] = counts.get(layer, 0) + len(x)

    layers = [m for m in model.modules() if isinstance(m, (CONV, nn.Linear))]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    where = next(model.parameters())
    try:
        with torch.no_grad():
            for start in range(0, len(inputs), batch):
                cases = torch.as_tensor(np.asarray(inputs[start : start + batch])).to(where.device)
                model(cases.to(where.dtype) if cases.is_floating_point() else cases)
    finally:
        for hook in hooks:
            hook.remove()

    def score(members: tuple[Member, ...]) -> NDArray[np.float64]:
        read = [(m, sums[m.module] / counts[m.module]) for m in members if m.inward and m.module in sums]
        return _mean(members, [(m, values.numpy()[list(m.idxs)]) for m, values in read])

    return score


def _saliency(weight: torch.Tensor) -> torch.Tensor:
    return (weight.detach() * weight.grad).abs() if weight.grad is not None else torch.zeros_like(weight)


def _weighed(members: tuple[Member, ...], weigh: Weigh) -> NDArray[np.float64]:
    found = []
    for member in members:
        module = member.module
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            values = weigh(module.weight)
        elif isinstance(module, (CONV, nn.Linear)):
            values = _by_channel(module, weigh(module.weight), member.outward)
        else:
            continue
        found.append((member, values.double().cpu().numpy()[list(member.idxs)]))
    return _mean(members, found)


def _by_channel(layer: Any, worth: torch.Tensor, outward: bool) -> torch.Tensor:
    """Sum of `worth` (shape of the weight) over everything but the output or input channels, in their order."""
    if isinstance(layer, nn.Linear):
        return worth.sum(1 if outward else 0)
    groups = layer.groups
    ends = (layer.in_channels, layer.out_channels) if layer.transposed else (layer.out_channels, layer.in_channels)
    blocks = worth.reshape(groups, ends[0] // groups, ends[1] // groups, -1)
    first = outward != layer.transposed
    return blocks.sum((2, 3) if first else (1, 3)).flatten()


def _mean(members: tuple[Member, ...], found: list[tuple[Member, NDArray[np.float64]]]) -> NDArray[np.float64]:
    """Mean over layers, each added where its channels belong in the set. TrialError where no layer says anything."""
    total = np.zeros(len(members[0].idxs))
    for member, values in found:
        np.add.at(total, list(member.roots), values)
    if not found or not np.isfinite(total).all():
        raise TrialError(f"the importance of the channels of {members[0].name} is not known or not finite")
    return total / len(found)
