"""A network as a dependency graph can read it, while it is traced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


def tensors(outputs: Any) -> list[torch.Tensor]:
    """The float tensors in what a network returns."""
    if isinstance(outputs, torch.Tensor):
        return [outputs] if outputs.is_floating_point() else []
    if isinstance(outputs, dict):
        return [t for value in outputs.values() for t in tensors(value)]
    if isinstance(outputs, (list, tuple)):
        return [t for value in outputs for t in tensors(value)]
    return []


@contextlib.contextmanager
def simplified(model: nn.Module, stay: tuple[type, ...]) -> Iterator[None]:
    """Layers as the graph can read them, while it is traced.

    PReLU of one slope as leaky ReLU: its slope is one number for all channels, but in the graph it stands as a second
    input of unknown width, on which Torch-Pruning fails behind a concatenation ("int and NoneType"). Layers that stay
    as one operation each, since the many steps of a recurrent layer lead nowhere. Nothing in place, and InstanceNorm
    not as a view: an operation in place on a view takes the layer out of the graph.
    """
    changed: list[Any] = [m for m in model.modules() if isinstance(m, stay)]
    for layer in changed:
        layer.forward = partial(_one_step, layer)
    for layer in one_slope(model):
        slope = float(layer.weight.detach())
        layer.forward = partial(nn.functional.leaky_relu, negative_slope=slope)
        changed.append(layer)
    for layer in model.modules():
        if isinstance(layer, nn.modules.instancenorm._InstanceNorm):
            layer.forward = partial(_copied, layer)
            changed.append(layer)
    in_place = [m for m in model.modules() if getattr(m, "inplace", False) is True]
    for layer in in_place:
        layer.inplace = False
    try:
        yield
    finally:
        for layer in changed:
            del layer.forward
        for layer in in_place:
            layer.inplace = True


def one_slope(model: nn.Module) -> list[nn.PReLU]:
    """PReLU layers with one slope for all channels."""
    return [m for m in model.modules() if isinstance(m, nn.PReLU) and m.num_parameters == 1]


def _copied(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return type(layer).forward(layer, x).clone()


def _one_step(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """What the layer returns, as one operation on its inputs."""
    with torch.no_grad():
        outputs = type(layer).forward(layer, *args, **kwargs)
    inputs = tensors([*args, *kwargs.values()])
    link = torch.stack([x.mean() for x in inputs]).sum() * 0 if inputs else 0
    if isinstance(outputs, torch.Tensor):
        return outputs + link
    return (outputs[0] + link, *outputs[1:])


class Joins(TorchFunctionMode):  # type: ignore[misc]
    """Watches concatenations: `widths`, by the operation, are those of its tensors along the axis."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: dict[Any, tuple[int, ...]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func not in (torch.cat, torch.concat, torch.concatenate):
            return func(*args, **kwargs)
        given = dict(zip(("tensors", "dim"), args)) | kwargs
        axis = given.pop("axis", given.pop("dim", 0))
        # A constant would be missing from the graph, and everything after it misplaced.
        parts = [t if t.requires_grad or not t.is_floating_point() else _recorded(t) for t in given.pop("tensors")]
        joined = func(parts, dim=axis, **given)
        if isinstance(axis, int) and joined.grad_fn is not None:
            self.widths[joined.grad_fn] = tuple(t.shape[axis] for t in parts)
        return joined


def _recorded(constant: torch.Tensor) -> torch.Tensor:
    return constant.detach().clone().requires_grad_(True) * 1
