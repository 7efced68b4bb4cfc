"""A module that computes in 16 bits where the device of its weights can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from primum.hardware.machine import Machine
from primum.techniques.precision import Precision, choose_precision

SENSITIVE = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LocalResponseNorm,
    nn.Softmax,
    nn.LogSoftmax,
)
"""Sums of many terms and exponentials: in 16 bits they lose what counts.

Softmax called as a function is FP32 under autocast on CUDA; the CPU kernels sum in FP32 and round the result.
"""


class MixedPrecisionWrapper(nn.Module):  # type: ignore[misc]
    """Calls `model` in mixed precision and gives outputs in the dtype of the inputs. It owns and changes `model`.

    With `use_auto_cast` the weights stay FP32 and are cast in each call; `dtype` and `fallback` follow the device on
    which they are now. Else they are stored in 16 bits, once and for all, those of norms in FP32.
    """

    def __init__(
        self,
        model: nn.Module,
        dtype: torch.dtype = torch.float16,
        use_auto_cast: bool = True,
        machine: Machine | None = None,
    ) -> None:
        """Raises InputError for a dtype other than torch.float16 and torch.bfloat16."""
        super().__init__()
        self.training = model.training
        self.model, self.requested, self.use_auto_cast = model, dtype, use_auto_cast
        self._machine = machine
        self._chosen: tuple[str, Precision] | None = None
        stored = self._precision().dtype
        if not use_auto_cast and stored is not torch.float32:
            _store(model, stored)
        for module in model.modules():
            if isinstance(module, SENSITIVE):
                module.register_forward_pre_hook(_widen)
                if not use_auto_cast:
                    module.register_forward_hook(_narrow(stored))

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self._precision().dtype

    @property
    def fallback(self) -> str | None:
        """Why that is not what was asked for; None where it is."""
        return self._precision().fallback

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the model's own; floating-point outputs come in the dtype of the first floating-point input."""
        wanted = next((a.dtype for a in (*args, *kwargs.values()) if _floating(a)), torch.float32)
        dtype = self.dtype
        if not self.use_auto_cast:
            return _cast(self.model(*_cast(args, dtype), **_cast(kwargs, dtype)), wanted)
        with torch.autocast(self._device(), dtype, enabled=dtype is not torch.float32):
            made = self.model(*args, **kwargs)
        return _cast(made, wanted)

    def _device(self) -> str:
        return next((p.device.type for p in self.model.parameters()), "cpu")

    def _precision(self) -> Precision:
        device = self._device()
        # Weights already stored in 16 bits keep their dtype wherever they go.
        if self._chosen is None or (self.use_auto_cast and self._chosen[0] != device):
            self._chosen = (device, choose_precision(self.requested, device, self._machine))
        return self._chosen[1]


def _store(model: nn.Module, dtype: torch.dtype) -> None:
    """Floating-point weights and buffers to `dtype`, but for those of sensitive modules."""
    for module in model.modules():
        if isinstance(module, SENSITIVE):
            continue
        for parameter in module.parameters(recurse=False):
            if parameter.is_floating_point():
                parameter.data = parameter.data.to(dtype)
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point():
                setattr(module, name, buffer.to(dtype))


def _widen(_module: nn.Module, inputs: tuple[Any, ...]) -> Any:
    return _cast(inputs, torch.float32)


def _narrow(dtype: torch.dtype) -> Callable[[nn.Module, Any, Any], Any]:
    def narrow(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        return _cast(output, dtype)

    return narrow


def _floating(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Floating-point tensors within nested tuples, lists and mappings to `dtype`."""
    if _floating(value):
        return value.to(dtype)
    if isinstance(value, dict):
        return type(value)((key, _cast(item, dtype)) for key, item in value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_cast(item, dtype) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(_cast(item, dtype) for item in value)
    return value
