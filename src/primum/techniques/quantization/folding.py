"""Batch normalisation folded into the convolution or linear layer before it.

y = g (Wx + b - m) / sqrt(v + e) + h is one layer with W' = W g / sqrt(v + e) and b' = (b - m) g / sqrt(v + e) + h
(Jacob et al. 2018, section 3.2). Exact up to rounding.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from primum.errors import TrialError
from primum.techniques.quantization.graph import calls_of, changes_nothing, module_at, only_user, set_module, trace
from primum.techniques.registry import Context, TechniqueConfig, technique

if TYPE_CHECKING:
    import torch
    from torch import fx


def fold_batch_norm(model: torch.nn.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Fold in place; returns the names of the folded batch norms, and sentences on those that stay.

    Each folded one leaves an Identity, so that the model keeps its class and the names of its other modules. Where the
    model cannot be traced, only neighbours within an nn.Sequential are folded.
    """
    from torch import nn

    try:
        pairs, stays = _traced_pairs(model)
    except TrialError as error:
        pairs = _neighbours(model)
        stays = (f"{error}; batch norms were folded within nn.Sequential only",)
    for layer, norm in pairs:
        _fold(model.get_submodule(layer), model.get_submodule(norm))
        set_module(model, norm, nn.Identity())
    return tuple(norm for _, norm in pairs), stays


def _traced_pairs(model: torch.nn.Module) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    graph = trace(model)
    calls = calls_of(graph.graph)
    pairs, stays = [], []
    for name, module in model.named_modules():
        if not _is_batch_norm(module):
            continue
        nodes = calls.get(name, [])
        layer = _feeding(model, nodes[0], calls) if len(nodes) == 1 else None
        if layer is None:
            stays.append(f"{name} stays: it does not follow one convolution or linear layer alone")
        elif (why := _unfoldable(model.get_submodule(layer), module)) is not None:
            stays.append(f"{name} stays: {why}")
        else:
            pairs.append((layer, name))
    return pairs, tuple(stays)


def _feeding(model: torch.nn.Module, norm: fx.Node, calls: dict[str, list[fx.Node]]) -> str | None:
    """Name of the layer whose result goes to this batch norm and nowhere else."""
    node, user = norm.args[0], norm
    while changes_nothing(module_at(model, node)):
        if only_user(node) is not user:
            return None
        node, user = node.args[0], node
    module = module_at(model, node)
    if module is None or not _is_layer(module) or only_user(node) is not user:
        return None
    name = str(node.target)
    return name if len(calls[name]) == 1 else None


def _neighbours(model: torch.nn.Module) -> list[tuple[str, str]]:
    from torch import nn

    pairs, seen = [], set[int]()
    for prefix, block in model.named_modules():
        if type(block) is not nn.Sequential:
            continue
        children = list(block.named_children())
        for (first, layer), (second, norm) in itertools.pairwise(children):
            fits = _is_layer(layer) and _is_batch_norm(norm) and _unfoldable(layer, norm) is None
            if fits and id(layer) not in seen and id(norm) not in seen:
                seen |= {id(layer), id(norm)}
                dot = f"{prefix}." if prefix else ""
                pairs.append((f"{dot}{first}", f"{dot}{second}"))
    return pairs


def _is_layer(module: torch.nn.Module) -> bool:
    from torch import nn

    return isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear))


def _is_batch_norm(module: torch.nn.Module) -> bool:
    from torch import nn

    return isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d))


def _unfoldable(layer: torch.nn.Module, norm: torch.nn.Module) -> str | None:
    if norm.running_mean is None:
        return "it keeps no running mean and variance"
    if norm.num_features != layer.weight.shape[0]:
        return "it normalises another axis than the layer's outputs"
    return None


def _fold(layer: torch.nn.Module, norm: torch.nn.Module) -> None:
    import torch

    with torch.no_grad():
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.double()
        bias = torch.zeros_like(scale) if layer.bias is None else layer.bias.double()
        bias = (bias - norm.running_mean.double()) * scale
        if norm.bias is not None:
            bias = bias + norm.bias.double()
        weight = layer.weight.double() * scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
        layer.weight.copy_(weight)
        layer.bias = torch.nn.Parameter(bias.to(layer.weight.dtype))


def _apply(model: torch.nn.Module, config: FoldBatchNorm, context: Context) -> torch.nn.Module:
    folded, stays = fold_batch_norm(model)
    context.note(f"{len(folded)} batch norms folded into the layer before them")
    for line in stays:
        context.note(line)
    return model


@technique("fold_batch_norm", _apply, reshapes=True)
class FoldBatchNorm(TechniqueConfig):
    """Fold every batch norm into the layer that feeds it; exact up to rounding."""
