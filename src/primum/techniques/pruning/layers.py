"""Torch-Pruning's extension point for layers that it cuts wrongly or not at all: one customized pruner a kind of layer.

Each has the interface of `torch_pruning.BasePruningFunc`; where the two directions are one method, input and output
channels are the same channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class NormPruner:
    """InstanceNorm, running statistics included, and GroupNorm, which of one channel a group stays so."""

    pruning_dim = 1

    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Cut the channels `idxs` out of every vector of the layer."""
        channels = self.get_out_channels(layer)
        keep = _kept(channels, idxs)
        for name in ("weight", "bias", "running_mean", "running_var"):
            _cut(layer, name, keep, 0)
        if hasattr(layer, "num_groups"):
            if layer.num_groups == channels:
                layer.num_groups = len(keep)
            layer.num_channels = len(keep)
        else:
            layer.num_features = len(keep)
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: Any) -> int:
        """Channels of the layer."""
        return int(layer.num_channels if hasattr(layer, "num_groups") else layer.num_features)

    get_in_channels = get_out_channels


class LayerNormPruner:
    """LayerNorm and RMSNorm over the last axis, or over channels and space with the channels first."""

    pruning_dim = -1

    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Cut the channels `idxs`."""
        keep = _kept(self.get_out_channels(layer), idxs)
        for name in ("weight", "bias"):
            _cut(layer, name, keep, 0)
        layer.normalized_shape = (len(keep), *layer.normalized_shape[1:])
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: Any) -> int:
        """Channels of the layer."""
        return int(layer.normalized_shape[0])

    get_in_channels = get_out_channels


class FixedPruner:
    """A layer whose channels stay: whatever shares channels with it is not pruned."""

    pruning_dim = 1

    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Refuse: a group that reaches this layer must not be pruned."""
        raise ValueError(f"the channels of {type(layer).__name__} stay")

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: Any) -> int | None:
        """Channels, where the layer tells."""
        for name in ("embed_dim", "hidden_size", "channels"):
            if hasattr(layer, name):
                return int(getattr(layer, name)) * (2 if getattr(layer, "bidirectional", False) else 1)
        return None

    get_in_channels = get_out_channels


def customized_pruners(model: torch.nn.Module) -> tuple[dict[type, Any], tuple[type, ...]]:
    """Pruners by exact class, as Torch-Pruning looks them up, for the layers of `model`; and the classes that stay."""
    from torch import nn

    kinds = {type(module) for module in model.modules()}
    norms, shape_norms, fixed = NormPruner(), LayerNormPruner(), FixedPruner()
    stay = (nn.RNNBase, nn.MultiheadAttention, nn.Embedding, nn.Bilinear)
    pruners: dict[type, Any] = {}
    for kind in kinds:
        if issubclass(kind, (nn.modules.instancenorm._InstanceNorm, nn.GroupNorm)):
            pruners[kind] = norms
        elif issubclass(kind, (nn.LayerNorm, nn.RMSNorm)):
            pruners[kind] = shape_norms
        elif issubclass(kind, stay):
            pruners[kind] = fixed
    return pruners, tuple(kind for kind, pruner in pruners.items() if pruner is fixed)


def _kept(channels: int, idxs: Sequence[int]) -> list[int]:
    gone = set(idxs)
    return [i for i in range(channels) if i not in gone]


def _cut(layer: Any, name: str, keep: list[int], dim: int) -> None:
    import torch

    old = getattr(layer, name, None)
    if old is None:
        return
    new = old.detach().index_select(dim, torch.tensor(keep, device=old.device)).clone()
    setattr(layer, name, torch.nn.Parameter(new, old.requires_grad) if isinstance(old, torch.nn.Parameter) else new)
