"""Dynamic INT8 in torch: weights stored as INT8, activation ranges taken anew from each input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from primum.errors import TrialError
from primum.hardware.machine import Machine
from primum.techniques.network import NetworkFacts
from primum.techniques.quantization.engine import engine_in_use, missing_engine
from primum.techniques.quantization.graph import copied
from primum.techniques.quantization.layers import Skipped, listed, still_float
from primum.techniques.quantization.quiet import known_warnings_silenced
from primum.techniques.registry import Context, TechniqueConfig, technique

if TYPE_CHECKING:
    import torch

_CONVOLUTION = "torch has no dynamic INT8 convolution: use static INT8"
_WHY = {
    **{f"Conv{d}d": _CONVOLUTION for d in (1, 2, 3)},
    **{f"ConvTranspose{d}d": _CONVOLUTION for d in (1, 2, 3)},
    "Embedding": "tables are looked up, not multiplied",
    "MultiheadAttention": "its keys and values are of another width, or it appends a key",
    "NonDynamicallyQuantizableLinear": "it belongs to an attention that could not be split",
    **dict.fromkeys(("LSTM", "GRU"), "torch has no INT8 form of it without biases, or with a projection"),
}


def quantize_dynamic_int8(model: torch.nn.Module) -> tuple[torch.nn.Module, tuple[Skipped, ...]]:
    """A copy with every Linear, LSTM and GRU in dynamic INT8, and the layers that stay.

    Raises TrialError where the model has none of these layers, or none that torch converts.
    """
    import torch
    from torch import nn
    from torch.ao import quantization
    from torch.ao.quantization import default_dynamic_qconfig

    from primum.models.attention import split_attention

    changed, _ = split_attention(copied(model))
    names = {name for name, module in changed.named_modules() if _takes(module)}
    if not names:
        raise TrialError("dynamic INT8 converts Linear, LSTM and GRU layers; this model has none that it can convert")
    with known_warnings_silenced(), engine_in_use():
        holder = nn.Module()
        holder.root = changed
        wanted = dict.fromkeys((f"root.{name}" if name else "root" for name in names), default_dynamic_qconfig)
        changed = quantization.quantize_dynamic(holder, wanted, dtype=torch.qint8, inplace=True).root
    return changed.eval(), still_float(changed, _WHY, "it is no Linear, LSTM or GRU layer")


def _takes(module: torch.nn.Module) -> bool:
    from torch import nn

    if type(module) in (nn.LSTM, nn.GRU):
        return bool(module.bias) and not module.proj_size
    return type(module) is nn.Linear


def _obstacle(config: DynamicInt8, machine: Machine) -> str | None:
    return missing_engine()


def _idle(config: DynamicInt8, network: NetworkFacts) -> str | None:
    return network.lacks("Linear", "LSTM", "GRU")


def _apply(model: torch.nn.Module, config: DynamicInt8, context: Context) -> torch.nn.Module:
    changed, skipped = quantize_dynamic_int8(model)
    for line in listed(skipped):
        context.note(line)
    return changed


@technique(
    "dynamic_int8",
    _apply,
    reshapes=True,
    torch_only=True,
    obstacle=_obstacle,
    rounds=lambda _: "int8-dynamic",
    idle=_idle,
)
class DynamicInt8(TechniqueConfig):
    """INT8 weights of Linear, LSTM and GRU layers; activations in FP32 with ranges per input. Runs in torch alone."""
