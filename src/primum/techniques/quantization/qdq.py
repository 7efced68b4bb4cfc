"""Layers whose weights are stored as integers, and activations rounded to eight bits: what training left, to export.

In PyTorch they compute what an integer runtime computes, in floats. Exported to ONNX they become QuantizeLinear and
DequantizeLinear pairs, which ONNX Runtime, OpenVINO and TensorRT run as integer arithmetic.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class QuantizeDequantize(nn.Module):  # type: ignore[misc]
    """Activations rounded to 256 levels: x -> (clamp(round(x / scale) + zero_point, 0, 255) - zero_point) scale."""

    def __init__(self, scale: torch.Tensor, zero_point: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.detach().clone().reshape(()))
        self.register_buffer("zero_point", zero_point.detach().to(torch.uint8).clone().reshape(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape, float32."""
        if _exporting():
            parts = (self.scale, self.zero_point)
            rounded = torch.onnx.ops.symbolic("QuantizeLinear", (x, *parts), dtype=torch.uint8, shape=x.shape)
            return torch.onnx.ops.symbolic("DequantizeLinear", (rounded, *parts), dtype=torch.float32, shape=x.shape)
        if torch.jit.is_tracing():  # the tracing exporter knows this form alone
            return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero_point.to(torch.int32), 0, 255)
        zero = self.zero_point.to(x.dtype)
        return ((x / self.scale).round_().add_(zero).clamp_(0, 255) - zero) * self.scale


class IntegerWeight(nn.Module):  # type: ignore[misc]
    """A weight stored as INT8 with one scale for each slice along `axis`."""

    def __init__(self, values: torch.Tensor, scale: torch.Tensor, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.register_buffer("values", values.detach().to(torch.int8).contiguous().clone())
        self.register_buffer("scale", scale.detach().flatten().clone())
        self.register_buffer("zero_point", torch.zeros(len(self.scale), dtype=torch.int8))

    def forward(self) -> torch.Tensor:
        """The weight in float32."""
        if _exporting():
            parts = (self.values, self.scale, self.zero_point)
            made: torch.Tensor = torch.onnx.ops.symbolic(
                "DequantizeLinear", parts, {"axis": self.axis}, dtype=torch.float32, shape=self.values.shape
            )
            return made
        wide = self.values.to(torch.float32) * self.scale.reshape(
            [-1 if d == self.axis else 1 for d in range(self.values.ndim)]
        )
        if torch.jit.is_tracing():  # exact a second time: every value lies on the grid already
            zero = self.zero_point.to(torch.int32)
            return torch.fake_quantize_per_channel_affine(wide, self.scale, zero, self.axis, -128, 127)
        return wide


class IntegerConvolution(nn.Module):  # type: ignore[misc]
    """A convolution over an IntegerWeight."""

    def __init__(self, layer: nn.Module, weight: IntegerWeight) -> None:
        super().__init__()
        self.weight = weight
        self.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False) if layer.bias is not None else None
        self.stride, self.padding = layer.stride, layer.padding
        self.dilation, self.groups = layer.dilation, layer.groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, *spatial)."""
        weight = self.weight()
        convolve = {3: functional.conv1d, 4: functional.conv2d, 5: functional.conv3d}[weight.ndim]
        return convolve(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class IntegerLinear(nn.Module):  # type: ignore[misc]
    """A linear layer over an IntegerWeight kept as (inputs, outputs), as runtimes multiply it.

    The bias is stored as INT32 on the grid of the products, input scale x weight scale: without it ONNX Runtime keeps
    the layer in FP32.
    """

    def __init__(self, layer: nn.Module, weight: IntegerWeight, input_scale: torch.Tensor) -> None:
        super().__init__()
        self.weight = weight
        bias = torch.zeros(len(weight.scale)) if layer.bias is None else layer.bias.detach()
        grid = input_scale.detach() * weight.scale
        self.register_buffer("bias_scale", grid)
        self.register_buffer("bias", (bias / grid).round().to(torch.int32))
        self.register_buffer("bias_zero", torch.zeros(len(grid), dtype=torch.int32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., inputs) to (..., outputs)."""
        if _exporting() and x.ndim == 2:
            parts = (self.bias, self.bias_scale, self.bias_zero)
            bias = torch.onnx.ops.symbolic(
                "DequantizeLinear", parts, {"axis": 0}, dtype=torch.float32, shape=self.bias.shape
            )
            return torch.onnx.ops.symbolic(
                "Gemm", (x, self.weight(), bias), dtype=torch.float32, shape=(x.shape[0], self.bias.shape[0])
            )
        return torch.matmul(x, self.weight()) + self.bias.to(torch.float32) * self.bias_scale


def _exporting() -> bool:
    """Whether torch.export runs for ONNX; the tracing exporter and other users of torch.export see plain arithmetic."""
    return bool(torch.compiler.is_exporting() and torch.onnx.is_in_onnx_export())
