"""Weights of linear layers in 8 or 4 bits, arithmetic in floating point: smaller, seldom faster, in torch alone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from primum.errors import MissingExtra, TrialError
from primum.hardware.machine import Machine, installed
from primum.techniques.network import NetworkFacts
from primum.techniques.quantization.graph import copied, set_module
from primum.techniques.quantization.layers import Skipped, listed, still_float, weighted_layers
from primum.techniques.quantization.quiet import known_warnings_silenced
from primum.techniques.registry import Context, TechniqueConfig, technique

if TYPE_CHECKING:
    import torch

WeightType = Literal["int8", "int4", "nf4", "fp4"]
Backend = Literal["torchao", "bitsandbytes"]
_HAS: dict[str, tuple[str, ...]] = {"torchao": ("int8", "int4"), "bitsandbytes": ("int8", "nf4", "fp4")}
_GROUP = 32
"""Inputs that share a scale in int4."""
_PACKED = 16
"""torch's int4 kernel for the CPU packs output channels by so many."""
_WHY = "weight-only quantization converts Linear layers: no CPU kernel multiplies convolutions or recurrent weights so"


def quantize_weights(
    model: torch.nn.Module, dtype: WeightType = "int8", backend: Backend = "torchao"
) -> tuple[torch.nn.Module, tuple[Skipped, ...]]:
    """A copy whose Linear layers hold packed weights, and the layers that stay. No gradient flows through it.

    Raises TrialError where the model has no Linear layer that fits, MissingExtra where the library is absent.
    """
    from primum.models.attention import split_attention

    if why := _cannot(dtype, backend):
        raise TrialError(f"weight_only: {why}")
    if not installed(backend):
        raise MissingExtra(f"weight-only quantization with {backend}", "llm")
    changed, _ = split_attention(copied(model))
    fitting = _fitting(changed, dtype, backend)
    if not fitting:
        raise TrialError(_nothing(changed, dtype))
    changed.requires_grad_(False)
    with known_warnings_silenced():
        (_by_torchao if backend == "torchao" else _by_bitsandbytes)(changed, fitting, dtype)
    names = set(fitting)
    stay = tuple(s for s in still_float(changed, {"Linear": _unfit(dtype)}, _WHY) if s.name not in names)
    return changed.eval(), stay


def _cannot(dtype: str, backend: str) -> str | None:
    if dtype in _HAS[backend]:
        return None
    others = [name for name, kinds in _HAS.items() if dtype in kinds]
    return f"{backend} has {', '.join(_HAS[backend])}, not {dtype}: use {others[0]}"


def _fitting(model: torch.nn.Module, dtype: str, backend: str) -> list[str]:
    from torch import nn

    linear = {name: m for name, m in model.named_modules() if type(m) is nn.Linear and name}
    if dtype != "int4":
        return list(linear)
    return [n for n, m in linear.items() if _packs(m.in_features, m.out_features)]


def _packs(inputs: int, outputs: int) -> bool:
    return inputs % _GROUP == 0 and outputs % _PACKED == 0


def _unfit(dtype: str) -> str:
    if dtype == "int4":
        return f"int4 needs inputs in groups of {_GROUP} and outputs in groups of {_PACKED}"
    return "it is the model itself: wrap it in nn.Sequential"


def _nothing(model: torch.nn.Module, dtype: str) -> str:
    kinds = sorted({type(module).__name__ for _, module in weighted_layers(model)})
    if "Linear" in kinds:
        return f"weight_only[{dtype}]: no Linear layer fits: {_unfit(dtype)}"
    return f"weight_only[{dtype}] has nothing to convert: {_WHY}, and this model has {', '.join(kinds) or 'no weights'}"


def _by_torchao(model: torch.nn.Module, names: list[str], dtype: str) -> None:
    for noisy in ("torchao", "torch.utils._pytree"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    config: Any = Int8WeightOnlyConfig()
    if dtype == "int4":
        # Int4WeightOnlyConfig has no CPU kernel; this prototype packs for the one that torch has.
        from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig

        config = PrototypeInt4WeightOnlyConfig(group_size=_GROUP)
    quantize_(model, config, filter_fn=lambda _module, name: name in names)


def _by_bitsandbytes(model: torch.nn.Module, names: list[str], dtype: str) -> None:
    import torch

    try:
        import bitsandbytes as bnb
    except (ImportError, OSError, RuntimeError) as error:
        raise TrialError(f"bitsandbytes is installed but does not load: {error}") from error
    log = logging.getLogger("bitsandbytes.autograd._functions")
    if _not_the_cast not in log.filters:
        log.addFilter(_not_the_cast)
    for name in names:
        layer = model.get_submodule(name)
        weight, has_bias = layer.weight.detach().clone(), layer.bias is not None
        size = (layer.in_features, layer.out_features)
        if dtype == "int8":
            new = bnb.nn.Linear8bitLt(*size, bias=has_bias, has_fp16_weights=False, threshold=0.0)
            new.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
        else:
            kind = {"quant_type": dtype, "compress_statistics": False}
            new = bnb.nn.Linear4bit(*size, bias=has_bias, compute_dtype=torch.float32, **kind)
            new.weight = bnb.nn.Params4bit(weight, requires_grad=False, **kind)
            # The repacking for BF16 CPUs, at the first call, leaves wrong scales in a state dict saved after it.
            new.support_avx512bf16_for_cpu = False
        if has_bias:
            new.bias = torch.nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
        set_module(model, name, new.to(weight.device))  # the move is what quantizes


def _not_the_cast(record: logging.LogRecord) -> bool:
    return "inputs will be cast" not in record.getMessage()


def _obstacle(config: WeightOnly, machine: Machine) -> str | None:
    if why := _cannot(config.dtype, config.backend):
        return why
    if config.backend == "bitsandbytes":
        return (
            "what bitsandbytes leaves runs by its own kernels, which a TorchScript file cannot hold and no other "
            "runtime has: use backend torchao in a study, or primum.quantize_model outside of one"
        )
    return None if installed(config.backend) else f"not installed: pip install 'primum[llm]' ({config.backend})"


def _idle(config: WeightOnly, network: NetworkFacts) -> str | None:
    if why := network.lacks("Linear"):
        return f"{why}: {_WHY}"
    if config.dtype == "int4" and network.linear is not None and not any(_packs(*size) for size in network.linear):
        return f"no Linear layer fits: {_unfit(config.dtype)}"
    return None


def _rounds(config: WeightOnly) -> str:
    return {"int8": "int8-weights", "int4": "int4-weights"}.get(config.dtype, "nf4-weights")


def _apply(model: torch.nn.Module, config: WeightOnly, context: Context) -> torch.nn.Module:
    changed, skipped = quantize_weights(model, config.dtype, config.backend)
    context.note(f"weights of Linear layers in {config.dtype} ({config.backend}); arithmetic in floating point")
    for line in listed(skipped):
        context.note(line)
    return changed


@technique("weight_only", _apply, reshapes=True, torch_only=True, obstacle=_obstacle, rounds=_rounds, idle=_idle)
class WeightOnly(TechniqueConfig):
    """Weights of Linear layers in fewer bits. Runs in torch alone; convolutions have no such form on a CPU."""

    dtype: WeightType = "int8"
    """nf4, fp4: 4-bit floating grids of Dettmers et al. 2023 (arXiv:2305.14314), blocks of 64 with one scale each."""
    backend: Backend = "torchao"
