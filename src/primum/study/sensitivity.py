"""How much rounding one layer harms the answers, from one pass through the network.

Score of a layer: sum over cases and outputs of (dL/dy * dy)^2, where dy is the change of the layer's output y when it
alone is rounded to 8 bits and L is the log-likelihood of the labels (or of labels drawn from the network's own
answers): the diagonal of the empirical Fisher information in place of the Hessian (Dong et al. 2019, HAWQ; NVIDIA
ModelOpt's AutoQuantize).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError
from primum.models.signature import Activation, Signature
from primum.task import Task

if TYPE_CHECKING:
    import torch

_BATCH = 16
_TINY = 1e-12


@dataclass(frozen=True)
class LayerScore:
    """What rounding one layer to INT8 does."""

    name: str
    """Path of the module in the network."""
    score: float
    """Mean over cases of the sum over the layer's outputs of (gradient times change)^2; 0 or more, without unit."""
    change: float
    """||dy|| / ||y|| over all cases."""


@dataclass
class _Layer:
    """A layer while cases run through it."""

    name: str
    module: torch.nn.Module
    low: float = np.inf
    high: float = -np.inf
    rounded: torch.Tensor | None = None
    pending: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    """Outputs of the current batch (which will hold gradients) and their changes."""
    score: float = 0.0
    gap: float = 0.0
    norm: float = 0.0


def layer_scores(
    module: torch.nn.Module,
    signature: Signature,
    cases: NDArray[np.float32],
    labels: NDArray[Any] | None = None,
    seed: int = 0,
) -> tuple[LayerScore, ...]:
    """Scores of every convolution and linear layer that `cases` (N, *input_shape) pass, in the order of the network.

    `labels` as of an EvaluationSet (binary: class index; multi-label -1 unknown; regression values); without them they
    are drawn from the network's own answers (the true Fisher information, not the empirical). Weights are rounded by
    output channel, symmetric; inputs over their range in `cases`, 8 bits. Layers whose weight is computed from other
    parameters are left out. `module` is left as it was. Raises InputError without cases or without layers.
    """
    import torch

    if not len(cases):
        raise InputError("sensitivity needs cases: representative inputs")
    layers = _find(module)
    if not layers:
        raise InputError("the network has no convolution and no linear layer to rank")
    generator = torch.Generator().manual_seed(seed)
    training = module.training
    frozen = [(p, p.requires_grad) for p in module.parameters()]
    module.eval()
    try:
        for parameter, _ in frozen:
            parameter.requires_grad_(False)
        _observe(module, layers, cases)
        for start in range(0, len(cases), _BATCH):
            rows = slice(start, start + _BATCH)
            known = None if labels is None else np.asarray(labels[rows])
            _accumulate(module, layers, signature, cases[rows], known, generator)
    finally:
        module.train(training)
        for parameter, wanted in frozen:
            parameter.requires_grad_(wanted)
    return tuple(
        LayerScore(x.name, x.score / len(cases), float(np.sqrt(x.gap / max(x.norm, _TINY))))
        for x in layers
        if x.rounded is not None
    )


def _find(module: torch.nn.Module) -> list[_Layer]:
    import torch

    # A base class of torch's convolutions, lazy and transposed ones included.
    kinds = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
    return [_Layer(name, m) for name, m in module.named_modules() if isinstance(m, kinds)]


def _observe(module: torch.nn.Module, layers: list[_Layer], cases: NDArray[np.float32]) -> None:
    """Take the range of what enters each layer, then round its weights; a layer that nothing enters stays unrounded."""
    import torch

    def watch(layer: _Layer) -> Any:
        def hook(_: torch.nn.Module, entered: tuple[torch.Tensor, ...]) -> None:
            layer.low = min(layer.low, float(entered[0].min()))
            layer.high = max(layer.high, float(entered[0].max()))

        return layer.module.register_forward_pre_hook(hook)

    handles = [watch(layer) for layer in layers]
    try:
        with torch.no_grad():
            for batch in _batches(cases):
                module(batch)
    finally:
        for handle in handles:
            handle.remove()
    for layer in layers:
        if layer.low <= layer.high and "weight" in dict(layer.module.named_parameters(recurse=False)):
            layer.rounded = round_weight(layer.module)


def _batches(cases: NDArray[np.float32]) -> Iterator[torch.Tensor]:
    import torch

    for start in range(0, len(cases), _BATCH):
        yield torch.from_numpy(np.array(cases[start : start + _BATCH], dtype=np.float32))


def round_weight(layer: torch.nn.Module) -> torch.Tensor:
    """A layer's weight in 8 bits and back: symmetric, -127..127, one scale an output channel."""
    import torch

    weight = layer.weight.detach()
    assert isinstance(weight, torch.Tensor)
    axis = 1 if getattr(layer, "transposed", False) else 0
    others = [i for i in range(weight.ndim) if i != axis]
    scale = weight.abs().amax(others, keepdim=True).clamp(min=_TINY) / 127
    return torch.round(weight / scale).clamp(-127, 127) * scale


def round_input(entered: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """An activation in 8 unsigned bits over [low, high], widened to hold 0 exactly, and back."""
    import torch

    low, high = min(low, 0.0), max(high, 0.0)
    step = max((high - low) / 255, _TINY)
    zero = round(-low / step)
    return (torch.round(entered / step + zero).clamp(0, 255) - zero) * step


def _accumulate(
    module: torch.nn.Module,
    layers: list[_Layer],
    signature: Signature,
    cases: NDArray[np.float32],
    labels: NDArray[Any] | None,
    generator: torch.Generator,
) -> None:
    """Add one batch to the scores: forward with changes taken layer by layer, then one backward pass."""
    import torch

    handles = [layer.module.register_forward_hook(_change(layer)) for layer in layers if layer.rounded is not None]
    try:
        with torch.enable_grad():
            batch = torch.from_numpy(np.array(cases, dtype=np.float32)).requires_grad_()
            raw = module(batch)
            _loss(raw.reshape(len(cases), signature.outputs, -1), signature, labels, generator).backward()
    finally:
        for handle in handles:
            handle.remove()
    for layer in layers:
        for output, gap in layer.pending:
            layer.gap += float(gap.square().sum())
            layer.norm += float(output.detach().square().sum())
            if output.grad is not None:
                layer.score += float((output.grad * gap).square().sum())
        layer.pending.clear()


def _change(layer: _Layer) -> Any:
    import torch

    def hook(module: torch.nn.Module, entered: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        assert layer.rounded is not None
        with torch.no_grad():
            swapped = dict(module.named_parameters()) | {"weight": layer.rounded}
            hooks, module._forward_hooks = module._forward_hooks, type(module._forward_hooks)()
            try:
                rounded = torch.func.functional_call(module, swapped, (round_input(entered[0], layer.low, layer.high),))
            finally:
                module._forward_hooks = hooks
        kept = output if output.requires_grad else output.detach().requires_grad_()
        kept.retain_grad()
        layer.pending.append((kept, rounded - kept.detach()))
        # What follows may work in place: on a copy, so that value and gradient of this output stay.
        return kept.clone()

    return hook


def _loss(
    raw: torch.Tensor, signature: Signature, labels: NDArray[Any] | None, generator: torch.Generator
) -> torch.Tensor:
    """Negative log-likelihood, summed over the batch. `raw` (n, outputs, positions) of the network's raw outputs."""
    import torch
    from torch.nn import functional

    task, kind = signature.task, signature.activation
    if task is Task.REGRESSION:
        error = torch.randn(raw.shape, generator=generator) if labels is None else raw.detach() - _fit(raw, labels)
        return (raw * error).sum()
    alone = task is Task.MULTILABEL or signature.outputs == 1 or kind is Activation.SIGMOID
    if kind is Activation.IDENTITY:
        bounded = raw.clamp(1e-6, 1 - 1e-6)
        raw = torch.logit(bounded) if alone else torch.log(bounded)
    if alone:
        chance = torch.sigmoid(raw.detach())
        truth = torch.bernoulli(chance, generator=generator) if labels is None else _ones(signature, raw, labels)
        losses = functional.binary_cross_entropy_with_logits(raw, truth.clamp(0, 1), reduction="none")
        return (losses * (truth >= 0)).sum()
    chosen = _drawn(raw, generator) if labels is None else _fit(raw[:, 0], labels).long()
    return functional.cross_entropy(raw, chosen.reshape(len(raw), -1), reduction="sum")


def _fit(like: torch.Tensor, labels: NDArray[Any]) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.array(labels, dtype=np.float32)).reshape(like.shape)


def _ones(signature: Signature, raw: torch.Tensor, labels: NDArray[Any]) -> torch.Tensor:
    """Truth of each sigmoid, shaped as `raw`: 0, 1, or -1 where it is unknown."""
    import torch

    given = torch.from_numpy(np.array(labels)).long()
    if signature.task is Task.MULTILABEL:
        return given.reshape(raw.shape).to(raw.dtype)
    if signature.outputs == 1:
        # A single output is about the positive class.
        target = signature.positive if signature.task is Task.BINARY else 1
        return (given == target).reshape(raw.shape).to(raw.dtype)
    places = given.reshape(len(raw), 1, -1)
    return (torch.arange(signature.outputs).reshape(1, -1, 1) == places).to(raw.dtype)


def _drawn(raw: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A class for each position, from the network's own probabilities: (n, positions)."""
    import torch

    chances = torch.softmax(raw.detach(), 1).transpose(1, 2)
    drawn = torch.multinomial(chances.reshape(-1, chances.shape[-1]), 1, generator=generator)
    return drawn.reshape(chances.shape[:2])
