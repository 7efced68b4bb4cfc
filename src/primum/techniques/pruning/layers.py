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


class TransposedPruner:
    """Transposed convolutions in groups, whose weight is (inputs, outputs / groups, *kernel)."""

    pruning_dim = 1

    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Cut output channels, as many of each group. Raises ValueError where a group would lose more than another."""
        import torch

        kept = self._by_group(layer.out_channels, layer.groups, idxs)
        parts = layer.weight.detach().chunk(layer.groups)
        cut = [part[:, keep] for part, keep in zip(parts, kept)]
        self._place(layer, torch.cat(cut))
        _cut(layer, "bias", _kept(layer.out_channels, idxs), 0)
        layer.out_channels -= len(set(idxs))
        return layer

    def prune_in_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Cut input channels, as many of each group. Raises ValueError as above."""
        self._by_group(layer.in_channels, layer.groups, idxs)
        _cut(layer, "weight", _kept(layer.in_channels, idxs), 0)
        layer.in_channels -= len(set(idxs))
        return layer

    def get_out_channels(self, layer: Any) -> int:
        """Output channels of the layer."""
        return int(layer.out_channels)

    def get_in_channels(self, layer: Any) -> int:
        """Input channels of the layer."""
        return int(layer.in_channels)

    def get_out_channel_groups(self, layer: Any) -> int:
        """Groups of the layer."""
        return int(layer.groups)

    get_in_channel_groups = get_out_channel_groups

    def _by_group(self, channels: int, groups: int, idxs: Sequence[int]) -> list[list[int]]:
        """Places within each group that stay."""
        size, keep = channels // groups, _kept(channels, idxs)
        kept = [[i % size for i in keep if i // size == group] for group in range(groups)]
        if len({len(one) for one in kept}) > 1:
            raise ValueError("groups of a transposed convolution would lose unequal numbers of channels")
        return kept

    def _place(self, layer: Any, weight: Any) -> None:
        import torch

        layer.weight = torch.nn.Parameter(weight.clone(), layer.weight.requires_grad)


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
        elif issubclass(kind, nn.modules.conv._ConvTransposeNd) and grouped_alone(model, kind):
            pruners[kind] = TransposedPruner()
    return pruners, tuple(kind for kind, pruner in pruners.items() if pruner is fixed)


def grouped_alone(model: torch.nn.Module, kind: type) -> bool:
    """Whether transposed convolutions of a class are in groups somewhere, and nowhere depthwise.

    Pruners are found by class, and a depthwise layer has one kind of channels where others have two.
    """
    found: list[Any] = [m for m in model.modules() if type(m) is kind]
    groups = [(m.groups, m.in_channels, m.out_channels) for m in found]
    return any(one[0] > 1 for one in groups) and not any(one[0] > 1 and len(set(one)) == 1 for one in groups)


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
