"""Mixed precision: 16 bits where the hardware computes them, FP32 where they would harm, and never silently.

Weights and products in 16 bits; norms and softmax in FP32; outputs in the dtype of the inputs (Micikevicius et al.
2018, arXiv:1710.03740).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from primum.errors import InputError
from primum.hardware.machine import Machine, this_machine
from primum.techniques.registry import Context, TechniqueConfig, technique

if TYPE_CHECKING:
    import torch

    from primum.techniques.autocast import MixedPrecisionWrapper

__all__ = [
    "BFloat16",
    "GradientScaling",
    "Half",
    "MixedPrecisionConverter",
    "MixedPrecisionWrapper",
    "Precision",
    "choose_precision",
    "convert_to_mixed_precision",
]


@dataclass(frozen=True)
class Precision:
    """The dtype in which a device computes, and why it is not the one that was asked for."""

    dtype: torch.dtype
    fallback: str | None = None


def choose_precision(asked: torch.dtype, device: str, machine: Machine | None = None) -> Precision:
    """The dtype for a device type ("cpu", "cuda", "mps"): the asked one where its hardware has it.

    CPU: BF16 where it multiplies it, else FP32; CUDA: both, BF16 from Ampere on; MPS: FP16. Raises InputError for a
    dtype that is neither torch.float16 nor torch.bfloat16.
    """
    import torch

    if asked not in (torch.float16, torch.bfloat16):
        raise InputError(f"mixed precision is torch.float16 or torch.bfloat16, not {asked}")
    if device == "cpu":
        return _on_cpu(asked, machine or this_machine())
    if device == "cuda":
        if asked is torch.bfloat16 and not torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision(torch.float16, "float16 in place of bfloat16: this GPU does not compute bfloat16")
        return Precision(asked)
    if device == "mps":
        if asked is torch.bfloat16:
            return Precision(torch.float16, "float16 in place of bfloat16: the choice on MPS")
        return Precision(asked)
    return Precision(torch.float32, f"float32 in place of {_name(asked)}: no mixed precision is known for {device}")


def _on_cpu(asked: torch.dtype, machine: Machine) -> Precision:
    import torch

    if "bf16" not in machine.features:
        return Precision(
            torch.float32, f"float32 in place of {_name(asked)}: this CPU multiplies neither float16 nor bfloat16"
        )
    if asked is torch.float16:
        return Precision(
            torch.bfloat16, "bfloat16 in place of float16: this CPU multiplies bfloat16 in hardware, not float16"
        )
    return Precision(asked)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class MixedPrecisionConverter:
    """Makes mixed-precision copies of a model; the model itself is not changed."""

    def __init__(
        self,
        model: torch.nn.Module,
        dtype: torch.dtype | None = None,
        use_auto_cast: bool = True,
        machine: Machine | None = None,
    ) -> None:
        """`dtype` None: torch.float16. `use_auto_cast` keeps FP32 weights and casts in each call; else weights are
        stored in 16 bits. Raises InputError where `model` is no module.
        """
        import torch
        from torch import nn

        if not isinstance(model, nn.Module):
            raise InputError(f"a torch module is needed, not {type(model).__name__}")
        self.model, self.use_auto_cast, self.machine = model, use_auto_cast, machine
        self.dtype = torch.float16 if dtype is None else dtype

    def convert_to_mixed_precision(self) -> MixedPrecisionWrapper:
        """A wrapped copy. What it computes in, and why not in what was asked, are its `dtype` and `fallback`."""
        import copy

        from primum.techniques.autocast import MixedPrecisionWrapper

        return MixedPrecisionWrapper(copy.deepcopy(self.model), self.dtype, self.use_auto_cast, self.machine)


def convert_to_mixed_precision(
    model: torch.nn.Module, dtype: torch.dtype | None = None, use_auto_cast: bool = True
) -> MixedPrecisionWrapper:
    """A mixed-precision copy of `model`; `dtype` None: torch.float16. Raises InputError."""
    return MixedPrecisionConverter(model, dtype, use_auto_cast).convert_to_mixed_precision()


class GradientScaling:
    """One training step in mixed precision: loss scaling for float16, whose smallest gradients would vanish.

    `precision` tells what is computed in; `skipped` counts steps left out because a gradient overflowed.
    """

    def __init__(self, dtype: torch.dtype, device: str = "cpu", machine: Machine | None = None) -> None:
        """`device`: "cpu", "cuda" or "mps"."""
        import torch

        self.precision, self.device = choose_precision(dtype, device, machine), device
        self._scaler = torch.amp.GradScaler(device, enabled=self.precision.dtype is torch.float16)
        self.skipped = 0

    @property
    def scale(self) -> float:
        """The factor on the loss now; 1 where it is not scaled."""
        return float(self._scaler.get_scale())

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Context for the forward pass and the loss."""
        import torch

        with torch.autocast(self.device, self.precision.dtype, enabled=self.precision.dtype is not torch.float32):
            yield

    def step(self, loss: torch.Tensor, optimizer: torch.optim.Optimizer, max_norm: float | None = None) -> bool:
        """Backward pass, gradients cut to `max_norm`, optimizer step, gradients cleared; False where it was skipped."""
        import torch

        before = self.scale
        self._scaler.scale(loss).backward()
        if max_norm is not None:
            self._scaler.unscale_(optimizer)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        self._scaler.step(optimizer)
        self._scaler.update()
        optimizer.zero_grad(set_to_none=True)
        taken = self.scale >= before
        self.skipped += not taken
        return taken


def _apply(model: torch.nn.Module, config: Half | BFloat16, context: Context) -> torch.nn.Module:
    import torch

    dtype = torch.float16 if isinstance(config, Half) else torch.bfloat16
    wrapped = MixedPrecisionConverter(model, dtype, use_auto_cast=False).convert_to_mixed_precision()
    context.note(f"weights and products in {_name(wrapped.dtype)}; norms and softmax in float32")
    if wrapped.fallback:
        context.note(wrapped.fallback)
    return wrapped


def _cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _no_half(config: Half, machine: Machine) -> str | None:
    if _cuda():
        return None
    return (
        "no CPU of this kind has FP16 arithmetic that pays: use bfloat16, or the precision fp16 of the runtime "
        "onnxruntime, which halves the file and computes in FP32"
    )


def _no_bfloat16(config: BFloat16, machine: Machine) -> str | None:
    if _cuda() or "bf16" in machine.features:
        return None
    return "this CPU has no BF16 arithmetic: it would be slower"


@technique("float16", _apply, reshapes=True, torch_only=True, obstacle=_no_half, rounds=lambda _: "bf16")
class Half(TechniqueConfig):
    """Weights and products in FP16, norms and softmax in FP32. Runs in torch alone."""


@technique("bfloat16", _apply, reshapes=True, torch_only=True, obstacle=_no_bfloat16, rounds=lambda _: "bf16")
class BFloat16(TechniqueConfig):
    """Weights and products in BF16, norms and softmax in FP32. Runs in torch alone."""


def __getattr__(name: str) -> Any:
    """MixedPrecisionWrapper is a torch module: it is defined apart, so that importing this loads no torch."""
    if name != "MixedPrecisionWrapper":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from primum.techniques import autocast

    return autocast.MixedPrecisionWrapper
