"""Unstructured pruning: the smallest weights become zero, wherever they are."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from primum.errors import InputError
from primum.techniques.registry import Context, Stage, TechniqueConfig, technique

if TYPE_CHECKING:
    import torch

NO_SPEED = "zeros among other weights make no runtime here faster; the file shrinks only when compressed"


@dataclass(frozen=True)
class Sparse:
    """A network with zeroed weights. `zeros` of `weights`: in the tensors that were pruned."""

    model: torch.nn.Module
    zeros: int
    weights: int
    notes: tuple[str, ...]

    @property
    def sparsity(self) -> float:
        """Share of zeros in the tensors that were pruned."""
        return self.zeros / self.weights


def _prune(model: torch.nn.Module, config: PruneWeights, context: Context) -> torch.nn.Module:
    return noted(prune_weights(model, config), context)


@technique("prune_weights", _prune, Stage.PRUNE)
class PruneWeights(TechniqueConfig):
    """Set the weights of smallest magnitude to zero (Han et al. 2015, arXiv:1506.02626), heads included."""

    amount: float = Field(0.3, ge=0, lt=1)
    """Share of the weights of convolutions and linear layers to zero."""
    scope: Literal["global", "layer"] = "global"
    """Ranked over all layers, or the same share of each."""
    parameters: tuple[str, ...] = ("weight",)
    """Names of the tensors of a layer to prune: weight, bias."""


def prune_weights(model: torch.nn.Module, config: PruneWeights) -> Sparse:
    """A copy of `model` with round(amount * n) weights zeroed.

    Raises InputError where no convolution or linear layer has such a parameter.
    """
    pruned = copy.deepcopy(model)
    found = prunable(pruned, config.parameters)
    for tensor, mask in zip(found, masks(found, config.amount, config.scope), strict=True):
        zero(tensor, mask)
    return sparse(pruned, found, unreached(pruned, config.parameters))


def prunable(model: torch.nn.Module, names: Sequence[str] = ("weight",)) -> list[torch.nn.Parameter]:
    """Parameters of these names in convolutions and linear layers, each once. Raises InputError where there is none."""
    from torch import nn

    layers = [m for m in model.modules() if isinstance(m, (nn.modules.conv._ConvNd, nn.Linear))]
    found = [p for m in layers for name, p in m.named_parameters(recurse=False) if name in names]
    unique = list({id(p): p for p in found}.values())
    if not unique:
        raise InputError(
            f"nothing to prune: no convolution or linear layer has a parameter {' or '.join(names)}"
            + "".join(f"; {note}" for note in unreached(model, names))
        )
    return unique


def unreached(model: torch.nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """A note on the layers whose weights stay as they are, each with why; none where all are reached."""
    from torch import nn

    if "weight" not in names:
        return ()
    why: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        product = isinstance(module, (nn.modules.conv._ConvNd, nn.Linear))
        if product and "weight" not in dict(module.named_parameters(recurse=False)):
            why.setdefault("its weight is made anew from other parameters (weight_norm, spectral_norm)", []).append(
                name
            )
        elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
            why.setdefault("recurrent weights are not pruned", []).append(name)
        elif isinstance(module, nn.MultiheadAttention):
            why.setdefault("the projections of its inputs are packed in one tensor", []).append(name)
        elif isinstance(module, (nn.Embedding, nn.EmbeddingBag, nn.Bilinear)):
            why.setdefault("only convolutions and linear layers are pruned", []).append(name)
    return tuple(
        f"not pruned: {', '.join(n or 'the model itself' for n in of)} ({reason})" for reason, of in why.items()
    )


def masks(tensors: Sequence[torch.Tensor], amount: float, scope: str) -> list[torch.Tensor]:
    """For each tensor, which entries to keep (bool): all but the round(amount * n) smallest magnitudes."""
    import torch

    magnitudes = [t.detach().abs() for t in tensors]
    if scope == "layer":
        return [_keep(m.flatten(), amount).reshape(m.shape) for m in magnitudes]
    kept = _keep(torch.cat([m.flatten() for m in magnitudes]), amount)
    parts = kept.split([m.numel() for m in magnitudes])
    return [part.reshape(m.shape) for part, m in zip(parts, magnitudes)]


def _keep(magnitudes: torch.Tensor, amount: float) -> torch.Tensor:
    import torch

    keep = torch.ones_like(magnitudes, dtype=torch.bool)
    gone = round(amount * magnitudes.numel())
    keep[torch.topk(magnitudes, gone, largest=False).indices] = False
    return keep


def zero(tensor: torch.Tensor, keep: torch.Tensor) -> None:
    """Set what is not kept to zero, in place."""
    import torch

    with torch.no_grad():
        # Not a product: infinity times zero is no zero.
        tensor.masked_fill_(~keep, 0.0)


def sparse(model: torch.nn.Module, tensors: Sequence[Any], notes: tuple[str, ...] = ()) -> Sparse:
    """The result, its zeros counted."""
    zeros, count = sum(int((t == 0).sum()) for t in tensors), sum(t.numel() for t in tensors)
    return Sparse(model, zeros, count, (f"{zeros} of {count} weights are zero; {NO_SPEED}", *notes))


def noted(result: Sparse, context: Context) -> torch.nn.Module:
    """The network, its notes handed to the context."""
    for note in result.notes:
        context.note(note)
    return result.model
