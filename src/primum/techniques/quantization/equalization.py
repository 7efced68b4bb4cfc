"""Cross-layer equalization: neighbouring layers rescaled so that every channel uses its quantization range fully.

Nagel et al. 2019 (arXiv:1906.04721), section 4.1. For y = W2 f(W1 x + b1) with f positively homogeneous,
f(s x) = s f(x) for s > 0, the function is unchanged by W1 / s, b1 / s, W2 s. With r1, r2 the ranges of channel i in W1
and W2, s_i = sqrt(r1_i r2_i) / r2_i makes both sqrt(r1_i r2_i). Repeated along chains until the scales settle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from primum.errors import TrialError
from primum.techniques.quantization.folding import fold_batch_norm
from primum.techniques.quantization.graph import calls_of, changes_nothing, module_at, only_user, trace
from primum.techniques.registry import Context, TechniqueConfig, technique

if TYPE_CHECKING:
    import torch
    from torch import fx

_ELEMENTWISE = {"ReLU", "LeakyReLU", "relu", "relu_", "leaky_relu", "contiguous"}
_POOLS = {f"{kind}Pool{d}d" for kind in ("Max", "Avg", "AdaptiveAvg", "AdaptiveMax") for d in (1, 2, 3)} | {
    f"{kind}_pool{d}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for d in (1, 2, 3)
}
_SETTLED = 1e-4
_SMALLEST = 1e-8


@dataclass(frozen=True)
class Pair:
    """Two layers by name; output channel i of `first` is input channel i of `second`."""

    first: str
    second: str


def find_pairs(model: torch.nn.Module) -> tuple[list[Pair], list[str]]:
    """Pairs that can be equalized without a change of the function, and sentences on those that cannot.

    Raises TrialError where the model cannot be traced.
    """
    graph = trace(model)
    calls = calls_of(graph.graph)
    pairs, left = [], []
    for name, nodes in calls.items():
        if not _is_layer(model.get_submodule(name)):
            continue
        if len(nodes) > 1:
            left.append(f"{name} is left: it is called {len(nodes)} times")
            continue
        second, obstacle = _next_layer(model, nodes[0])
        if second is not None and len(calls[second]) == 1 and _fit(model, name, second):
            pairs.append(Pair(name, second))
        elif obstacle:
            left.append(f"{name} is left: {obstacle}")
    return pairs, left


def equalize(model: torch.nn.Module, pairs: list[Pair], rounds: int = 20) -> int:
    """Equalize all pairs in place; returns the number of rounds until every scale was within 1e-4 of 1."""
    for done in range(1, rounds + 1):
        largest = max((_equalize_pair(model, pair) for pair in pairs), default=0.0)
        if largest < _SETTLED:
            return done
    return rounds


def channel_ranges(model: torch.nn.Module, pair: Pair) -> tuple[torch.Tensor, torch.Tensor]:
    """Largest |weight| of each channel between the two layers: of the first's outputs and of the second's inputs."""
    first, second = model.get_submodule(pair.first), model.get_submodule(pair.second)
    ahead = first.weight.detach().abs().flatten(1).amax(1)
    return ahead, _by_input(second, len(ahead)).abs().flatten(1).amax(1)


def _by_input(layer: torch.nn.Module, channels: int) -> torch.Tensor:
    """The layer's weight as (channels, everything else), channels being those of its input; a copy."""
    weight = layer.weight.detach()
    groups = getattr(layer, "groups", 1)
    if groups > 1:  # depthwise: one input channel a group, several outputs each
        return weight.reshape(channels, -1)
    if weight.ndim == 2:  # a linear layer may see each channel as a run of flattened pixels
        weight = weight.reshape(weight.shape[0], channels, -1)
    return weight.transpose(0, 1)


def _equalize_pair(model: torch.nn.Module, pair: Pair) -> float:
    """Returns the largest |log s| applied."""
    import torch

    first, second = model.get_submodule(pair.first), model.get_submodule(pair.second)
    ahead, behind = channel_ranges(model, pair)
    alive = (ahead > _SMALLEST) & (behind > _SMALLEST)
    scale = torch.where(alive, (ahead / behind.clamp_min(_SMALLEST)).sqrt(), torch.ones_like(ahead))
    with torch.no_grad():
        first.weight.div_(scale.reshape(-1, *[1] * (first.weight.ndim - 1)))
        if first.bias is not None:
            first.bias.div_(scale)
        second.weight.mul_(_spread(second, scale))
    return float(scale.log().abs().max())


def _spread(layer: torch.nn.Module, scale: torch.Tensor) -> torch.Tensor:
    """`scale` by input channel, in the shape that multiplies the layer's weight."""
    weight = layer.weight
    if getattr(layer, "groups", 1) > 1:
        each = scale.repeat_interleave(weight.shape[0] // len(scale))
        return each.reshape(-1, *[1] * (weight.ndim - 1))
    if weight.ndim == 2:
        return scale.repeat_interleave(weight.shape[1] // len(scale))[None]
    return scale.reshape(1, -1, *[1] * (weight.ndim - 2))


def _next_layer(model: torch.nn.Module, node: fx.Node) -> tuple[str | None, str | None]:
    """The layer that this one alone feeds through homogeneous steps, or what stands between."""
    first = model.get_submodule(str(node.target))
    steps: set[str] = set()
    while True:
        user = only_user(node)
        if user is None:
            return None, "its result goes to several places" if len(node.users) > 1 else None
        if user.op == "output":
            return None, None
        module = module_at(model, user)
        if module is not None and _is_layer(module):
            meet = _channels_meet(first, module, steps)
            return (str(user.target), None) if meet else (None, f"its channels are not those of {user.target}")
        step = _homogeneous(module, user)
        if step is None:
            what = type(module).__name__ if module is not None else str(getattr(user.target, "__name__", user.target))
            return None, f"{what} follows, which a rescaled channel would change"
        steps.add(step)
        node = user


def _homogeneous(module: torch.nn.Module | None, node: fx.Node) -> str | None:
    """The kind of a step with f(s x) = s f(x) for s > 0, channel by channel; None for any other step."""
    if module is not None:
        name = type(module).__name__
        flatten = name == "Flatten" and (module.start_dim, module.end_dim) == (1, -1)
        same = changes_nothing(module)
    else:
        name = str(getattr(node.target, "__name__", node.target))
        flatten = name == "flatten" and (node.args[1:] == (1,) or node.kwargs == {"start_dim": 1})
        same = False
    if flatten:
        return "flatten"
    if name in _POOLS:
        return "pool"
    return "elementwise" if same or name in _ELEMENTWISE else None


def _channels_meet(first: torch.nn.Module, second: torch.nn.Module, steps: set[str]) -> bool:
    """Whether output channel i of the first is input channel i of the second: axis 1 for convolutions, last for linear.

    A convolution meets a linear layer through a flattening alone, which keeps each channel's pixels together.
    """
    from torch import nn

    if isinstance(first, nn.Linear):
        return isinstance(second, nn.Linear) and not steps & {"flatten", "pool"}
    return isinstance(second, nn.Linear) == ("flatten" in steps)


def _is_layer(module: torch.nn.Module) -> bool:
    from torch import nn

    return isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear))


def _fit(model: torch.nn.Module, first: str, second: str) -> bool:
    """Whether channels can be matched: no groups in the second layer, or one input channel a group."""
    outputs = model.get_submodule(first).weight.shape[0]
    layer = model.get_submodule(second)
    groups = getattr(layer, "groups", 1)
    inputs = layer.weight.shape[1] * groups
    if layer.weight.ndim == 2:
        return bool(inputs % outputs == 0)
    return bool(inputs == outputs and groups in (1, inputs))


def _apply(model: torch.nn.Module, config: CrossLayerEqualization, context: Context) -> torch.nn.Module:
    folded, stays = fold_batch_norm(model)
    pairs, left = find_pairs(model)
    if not pairs:
        raise TrialError(
            "no two layers follow each other with ReLU or nothing between: nothing to equalize"
            + (f" ({'; '.join(left[:3])})" if left else "")
        )
    rounds = equalize(model, pairs, config.rounds)
    context.note(f"{len(folded)} batch norms folded, {len(pairs)} pairs of layers equalized in {rounds} rounds")
    for line in (*stays, *left):
        context.note(line)
    return model


@technique("equalize", _apply, reshapes=True)
class CrossLayerEqualization(TechniqueConfig):
    """Make the channels of neighbouring layers equally wide: lossless in FP32, kinder to per-tensor INT8."""

    rounds: int = Field(20, ge=1, le=100)
    """At most so many passes over all pairs."""
