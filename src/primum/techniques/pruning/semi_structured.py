"""N:M sparsity: of every M weights in a row the N largest stay (2:4: Mishra et al. 2021, arXiv:2104.08378)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from primum.errors import InputError
from primum.hardware.machine import Machine
from primum.techniques.pruning.unstructured import Sparse, noted, sparse, zero
from primum.techniques.registry import Context, Stage, TechniqueConfig, technique

if TYPE_CHECKING:
    import torch

SPARSE_CORES = "sparse_tensor_cores"
"""The feature of a machine whose GPU has them (NVIDIA, compute capability 8.0 and above)."""


def _prune(model: torch.nn.Module, config: PruneNOfM, context: Context) -> torch.nn.Module:
    return noted(prune_n_of_m(model, config), context)


def _obstacle(config: PruneNOfM, machine: Machine) -> str | None:
    if (config.n, config.m) != (2, 4):
        return f"{config.n}:{config.m} sparsity is faster on no hardware; sparse tensor cores take 2:4 alone"
    if SPARSE_CORES not in machine.features:
        return (
            "2:4 sparsity is faster on the sparse tensor cores of an NVIDIA GPU alone; this machine shows none: "
            "channels that are removed (prune_channels) are faster everywhere"
        )
    return None


@technique("prune_n_of_m", _prune, Stage.PRUNE, obstacle=_obstacle)
class PruneNOfM(TechniqueConfig):
    """Keep the `n` weights of largest magnitude of every `m` along the input dimension."""

    n: int = Field(2, ge=1)
    m: int = Field(4, ge=2)

    @model_validator(mode="after")
    def _fewer(self) -> PruneNOfM:
        if self.n >= self.m:
            raise ValueError("n must be smaller than m")
        return self


def prune_n_of_m(model: torch.nn.Module, config: PruneNOfM) -> Sparse:
    """A copy of `model` with N:M sparse linear layers and convolutions.

    Layers whose inputs (features, or channels of a group) are no multiple of `m` stay, and a note names them. Raises
    InputError where no layer fits.
    """
    from torch import nn

    pruned = copy.deepcopy(model)
    found, left = [], []
    for name, layer in pruned.named_modules():
        if not isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear)):
            continue
        axis = 0 if getattr(layer, "transposed", False) else 1
        grouped = axis == 0 and layer.groups > 1
        if layer.weight.shape[axis] % config.m or grouped:
            left.append(name)
            continue
        zero(layer.weight, keep_n_of_m(layer.weight.detach(), config.n, config.m, axis))
        found.append(layer.weight)
    if not found:
        raise InputError(f"no layer has a multiple of {config.m} inputs")
    notes = (f"not pruned, as their inputs are no multiple of {config.m}: {', '.join(left)}",) if left else ()
    return sparse(pruned, found, notes)


def keep_n_of_m(weight: torch.Tensor, n: int, m: int, axis: int = 1) -> torch.Tensor:
    """Which entries to keep (bool, shape of `weight`): the `n` largest magnitudes of every `m` along `axis`."""
    import torch

    rows = weight.abs().movedim(axis, -1)
    blocks = rows.reshape(*rows.shape[:-1], -1, m)
    keep = torch.zeros_like(blocks, dtype=torch.bool)
    keep.scatter_(-1, blocks.topk(n, dim=-1).indices, True)
    return keep.reshape(rows.shape).movedim(-1, axis)
