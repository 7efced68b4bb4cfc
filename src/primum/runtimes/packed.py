"""Linear layers that hold 8- and 4-bit weights, in a form that a TorchScript file keeps at so many bits.

Traced as they are, torchao's tensors put both their integers and floats of the original shape into the file.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from primum.errors import TrialError

INT8, INT4 = "Int8Tensor", "Int4OpaqueTensor"
"""torchao's, told by name, so that nothing of it is loaded for a model that has none."""


class Packed8(nn.Module):  # type: ignore[misc]
    """y = (x W^T) s + b, with W int8 (outputs, inputs) and a scale for each output."""

    def __init__(self, weight: Any, bias: torch.Tensor | None) -> None:
        """`weight`: torchao's. TrialError where scales are not one for each output."""
        super().__init__()
        if tuple(weight.scale.shape) != (weight.qdata.shape[0], 1):
            raise TrialError(f"INT8 weights with scales of shape {tuple(weight.scale.shape)} do not go into a file")
        self.register_buffer("weight", weight.qdata.detach().clone())
        self.register_buffer("scale", weight.scale.detach().reshape(-1).clone())
        self.register_buffer("bias", bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float (..., inputs) to float (..., outputs)."""
        y = nn.functional.linear(x, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        return y if self.bias is None else y + self.bias


class Packed4(nn.Module):  # type: ignore[misc]
    """The same with groups of 4-bit weights, by torch's kernel for the CPU."""

    def __init__(self, weight: Any, bias: torch.Tensor | None) -> None:
        """`weight`: torchao's. TrialError where it scales or rounds activations too."""
        super().__init__()
        if weight.act_pre_scale is not None or weight.act_mapping_type is not None:
            raise TrialError("INT4 weights whose activations are scaled or rounded do not go into a file")
        self.group, self.outputs = int(weight.block_size[1]), int(weight.shape[0])
        self.register_buffer("weight", weight.qdata.detach().clone())
        self.register_buffer("scale", weight.scale_and_zero.detach().clone())
        self.register_buffer("bias", bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float (..., inputs) to float (..., outputs)."""
        rows = x.reshape(-1, x.shape[-1]).contiguous()
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, self.weight, self.group, self.scale)
        y = y[:, : self.outputs].reshape([*x.shape[:-1], self.outputs])
        return y if self.bias is None else y + self.bias


def packed(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy whose layers with torchao's weights are Packed8 and Packed4, and which kinds it had; else the model."""
    found = {name: kind for name, module in model.named_modules() if (kind := _kind(module)) is not None}
    if not found:
        return model, ()
    changed = copy.deepcopy(model)
    for name, kind in found.items():
        layer = changed.get_submodule(name)
        bias = None if layer.bias is None else layer.bias.detach().clone()
        parent, _, child = name.rpartition(".")
        setattr(changed.get_submodule(parent), child, (Packed8 if kind == INT8 else Packed4)(layer.weight, bias).eval())
    return changed, tuple(sorted(set(found.values())))


def _kind(module: nn.Module) -> str | None:
    name = type(getattr(module, "weight", None)).__name__
    return name if isinstance(module, nn.Linear) and name in (INT8, INT4) else None
