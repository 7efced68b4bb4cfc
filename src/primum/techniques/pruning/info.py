"""What pruning changed, in numbers: layer by layer and in all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from primum.techniques.operations import Operations, count_operations

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LayerInfo:
    """One convolution or linear layer before and after; `flops` count a multiplication and an addition as two."""

    shape_before: tuple[int, ...]
    shape_after: tuple[int, ...]
    parameters_before: int
    parameters_after: int
    sparsity: float
    """Share of its weights that are gone or zero."""
    flops_before: int | None
    flops_after: int | None
    """Of one case; None where no example input is known."""


@dataclass(frozen=True)
class PruningInfo:
    """The whole network before and after."""

    final_sparsity: float
    """Share of the weights of all products that are gone or zero: convolutions, linear and recurrent layers, packed
    projections of attention, weights under a parametrization as they are used. Tables and norms are none."""
    parameters_before: int
    parameters_after: int
    nonzero_before: int
    nonzero_after: int
    size_bytes_before: int
    size_bytes_after: int
    """Of weights and buffers as saved without compression: zeros take as much room as other numbers."""
    flops_before: int | None
    flops_after: int | None
    layers: dict[str, LayerInfo]
    notes: tuple[str, ...] = ()
    """Why operations are not counted, where they are not."""

    @property
    def compression_ratio(self) -> float:
        """Size before over size after."""
        return self.size_bytes_before / self.size_bytes_after

    def as_dict(self) -> dict[str, Any]:
        """Every field, and the compression ratio, as plain data."""
        plain = {name: value for name, value in asdict(self).items() if name != "notes"}
        return {**plain, "compression_ratio": self.compression_ratio}


def compare(before: torch.nn.Module, after: torch.nn.Module, example: torch.Tensor | None = None) -> PruningInfo:
    """Compare a network with its pruned copy; operations are counted where an example (1, *input_shape) is given."""
    old, new = _weights(before), _weights(after)
    flops = [count_operations(m, example) if example is not None else Operations(None, {}) for m in (before, after)]
    layers = {
        name: LayerInfo(
            tuple(weight.shape),
            tuple(new[name].shape),
            weight.numel(),
            new[name].numel(),
            1 - int((new[name] != 0).sum()) / max(weight.numel(), 1),
            flops[0].by_module.get(name),
            flops[1].by_module.get(name),
        )
        for name, weight in old.items()
    }
    left = sum(int((w != 0).sum()) for w in product_weights(after).values())
    weights = sum(w.numel() for w in product_weights(before).values())
    return PruningInfo(
        final_sparsity=1 - left / weights if weights else 0.0,
        parameters_before=_count(before),
        parameters_after=_count(after),
        nonzero_before=_nonzero(before),
        nonzero_after=_nonzero(after),
        size_bytes_before=_bytes(before),
        size_bytes_after=_bytes(after),
        flops_before=flops[0].total,
        flops_after=flops[1].total,
        layers=layers,
        notes=tuple(dict.fromkeys(f.note for f in flops if f.note)),
    )


def _count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _nonzero(model: torch.nn.Module) -> int:
    return sum(int((p != 0).sum()) for p in model.parameters())


def _bytes(model: torch.nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in model.state_dict().values())


def _weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    from torch import nn

    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    return {name: m.weight.detach() for name, m in model.named_modules() if isinstance(m, kinds)}


def product_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights that something is multiplied by, each once, by name; those of a parametrization as it makes them."""
    from torch import nn

    found: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            found[f"{name}.weight"] = module.weight
        elif isinstance(module, (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Bilinear)):
            found |= {f"{name}.{n}": p for n, p in module.named_parameters(recurse=False) if "weight" in n}
    return {name: t.detach() for name, t in {id(t): (n, t) for n, t in found.items()}.values()}
