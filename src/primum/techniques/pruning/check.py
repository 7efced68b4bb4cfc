"""Proof that the right channels went: a pruned network gives what the original gives when it no longer reads them."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from primum.techniques.pruning.graph import CONV, FAILURES, Member
from primum.techniques.pruning.simplified import tensors

_TOLERANCE = 1e-6
_WITHOUT_BIAS = (torch.rms_norm, nn.functional.rms_norm)
_NORMS = (torch.layer_norm, torch.group_norm, nn.functional.layer_norm, nn.functional.group_norm, *_WITHOUT_BIAS)


class Ledger:
    """The input channels that consumers lost, by their place in the original."""

    def __init__(self) -> None:
        """Nothing is lost yet."""
        self.lost: dict[str, list[int]] = {}
        self._left: dict[str, list[int]] = {}

    def enter(self, members: Iterable[Member]) -> None:
        """Record one removal; places are those of the network as it is before that removal."""
        for member in members:
            if not member.inward or member.outward or not isinstance(member.module, (CONV, nn.Linear)):
                continue
            width = member.module.in_channels if isinstance(member.module, CONV) else member.module.in_features
            left = self._left.setdefault(member.name, list(range(width + len(member.idxs))))
            gone = [left[i] for i in member.idxs]
            self.lost.setdefault(member.name, []).extend(gone)
            self._left[member.name] = [i for i in left if i not in set(gone)]


def fault(original: nn.Module, pruned: nn.Module, ledger: Ledger, example: torch.Tensor) -> str | None:
    """What is wrong with `pruned`, or None.

    Its outputs must have the original's shapes, and equal those of the original whose consumers have zero weights for
    every removed channel; norms across channels, whose statistics change rightly, are reduced to their affine part in
    both. Computed in double precision where the network allows it.
    """
    masked = _masked(original, ledger)
    try:
        before, after = tensors(_run(original, example)), tensors(_run(pruned, example))
    except FAILURES as error:
        return f"the pruned network does not run: {(str(error).splitlines() or [''])[0]}"
    if [t.shape for t in before] != [t.shape for t in after]:
        return f"the output's shape changed to {[tuple(t.shape) for t in after]}"
    if not all(bool(torch.isfinite(t).all()) for t in after):
        return "the pruned network's output is not finite"
    pairs = list(zip(*_affine_outputs(masked, pruned, example), strict=True))
    for expected, got in pairs:
        scale = float(expected.abs().max()) if expected.numel() else 0.0
        tolerance = _TOLERANCE if expected.dtype == torch.float64 else 1e-3
        if not torch.allclose(expected, got, rtol=0.0, atol=tolerance * max(scale, 1e-12)):
            return "more changed than the removed channels"
    return None


def _masked(original: nn.Module, ledger: Ledger) -> nn.Module:
    masked = copy.deepcopy(original)
    layers = dict(masked.named_modules())
    with torch.no_grad():
        for name, idxs in ledger.lost.items():
            _blind(layers[name], idxs)
    return masked


def _blind(layer: Any, idxs: list[int]) -> None:
    """Zero the weights by which a layer reads the input channels `idxs`."""
    if not isinstance(layer, CONV):
        layer.weight[:, idxs] = 0
    elif layer.transposed:
        layer.weight[idxs] = 0
    else:
        inputs, outputs = layer.in_channels // layer.groups, layer.out_channels // layer.groups
        for i in idxs:
            group = i // inputs
            layer.weight[group * outputs : (group + 1) * outputs, i % inputs] = 0


def _affine_outputs(
    masked: nn.Module, pruned: nn.Module, example: torch.Tensor
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    with _AffineNorms():
        try:
            double = example.double() if example.is_floating_point() else example
            return tensors(_run(masked.double(), double)), tensors(_run(copy.deepcopy(pruned).double(), double))
        # A network that makes float32 tensors of its own cannot run in double.
        except FAILURES:
            kind = example.dtype if example.is_floating_point() else torch.float32
            return tensors(_run(masked.to(kind), example)), tensors(_run(pruned, example))


def _run(model: nn.Module, example: torch.Tensor) -> Any:
    was = {m: m.training for m in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            return model(example.clone())
    finally:
        for module, training in was.items():
            module.training = training


class _AffineNorms(TorchFunctionMode):  # type: ignore[misc]
    """Norms across channels become tanh and their scale and shift, which treat each channel alone."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _NORMS:
            return func(*args, **kwargs)
        given = dict(zip(("input", "shape", "weight", "bias"), args)) | kwargs
        x, weight = torch.tanh(given["input"]), given.get("weight")
        bias = None if func in _WITHOUT_BIAS else given.get("bias")
        first = func in (torch.group_norm, nn.functional.group_norm)
        scale, shift = (_along(v, x, first) if v is not None else None for v in (weight, bias))
        x = x * scale if scale is not None else x
        return x + shift if shift is not None else x


def _along(values: torch.Tensor, x: torch.Tensor, channels_first: bool) -> torch.Tensor:
    return values.reshape(1, -1, *(1,) * (x.ndim - 2)) if channels_first else values
