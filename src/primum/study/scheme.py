"""How a precision rounds one layer: its weights in numpy, and what happens to the activation that enters it.

INT8 weights: symmetric, one scale an output channel; activations: 8 unsigned bits with a zero point, one scale a tensor
(Jacob et al. 2018, as ONNX Runtime and NNCF apply it). Compressed weights of matrix products: symmetric, one scale a
block of inputs; NF4 after Dettmers et al. 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from primum.hardware.machine import this_machine
from primum.runtimes.base import WEIGHTS_ONLY, Target

if TYPE_CHECKING:
    import onnx

HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The operators that 8-bit and 16-bit arithmetic speeds up: all of them multiply by a weight, their second input."""
_FP16_FROM_ELEMENTS = 64
"""ONNX Runtime's fp16 candidates store smaller tensors in full (runtimes/onnxruntime.py)."""


_BLOCKS = {("onnxruntime", "int8-weights"): 128, ("openvino", "int8-weights"): 0}
"""Inputs that share a scale; 0 for all of an output. 32 for 4 bits."""
_NF4 = (
    *(-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0),
    *(0.0795803, 0.16093020, 0.24611230, 0.33791524, 0.44070983, 0.56261700, 0.72295684, 1.0),
)


@dataclass(frozen=True)
class Range:
    """Smallest and largest value that calibration saw of one tensor."""

    low: float
    high: float


@dataclass(frozen=True)
class Scheme:
    """How a precision rounds the weights and the activation of a layer; `activation` is "", static, dynamic or bf16."""

    words: str
    weights: str
    """int8, dynamic, bf16, fp16, or a precision of weights alone."""
    activation: str = ""
    rounds_output: bool = False
    """ONNX Runtime's static INT8 keeps every tensor in 8 bits, the network's answer included."""
    mean_range: bool = False
    """Ranges are means over calibration cases (NNCF), rather than extremes (ONNX Runtime)."""
    levels: int = 127
    omits: str = ""
    """What the runtime does beside this, in words; "" for nothing."""
    heavy: tuple[str, ...] = HEAVY
    exclude: tuple[str, ...] = ()
    """Modules that stay as they are."""
    block: int = 0
    """Inputs that share a scale of compressed weights; 0 for all."""

    def spares(self, layer: str) -> bool:
        """Whether the layer of this path keeps FP32."""
        return any(layer == name or layer.startswith(f"{name}.") for name in self.exclude)

    def round(self, node: onnx.NodeProto, slot: int, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The constant at `slot` of `node` as this precision stores it."""
        if self.weights == "fp16":
            small = values.size < _FP16_FROM_ELEMENTS
            return values if small else values.astype(np.float16).astype(np.float32)
        if slot != 1 or node.op_type not in self.heavy:
            return values
        if self.weights == "bf16":
            return _to_bfloat16(values)
        axis = _channel_axis(node, values.ndim)
        if self.weights in WEIGHTS_ONLY:
            return _compressed(values, axis, self.block, self.weights)
        if self.weights == "int8":
            return _symmetric(values, axis, self.levels)
        # ONNX Runtime's dynamic scheme: one scale for a whole convolution, one a column for a matrix product.
        return _asymmetric(values, None if node.op_type == "Conv" else axis)

    def touches(self, node: onnx.NodeProto) -> bool:
        """Whether the activation that enters `node` is rounded."""
        return bool(self.activation) and node.op_type in self.heavy


def scheme_of(target: Target) -> Scheme | None:
    """What `target` does to single layers; None for fp32."""
    if target.precision == "int8-dynamic":
        return Scheme(
            "INT8 with ranges from each input",
            "dynamic",
            "dynamic",
            heavy=("Conv", "Gemm", "MatMul"),
            exclude=target.exclude,
        )
    if target.precision == "int8":
        ort = target.runtime == "onnxruntime"
        # Without VNNI the adapter keeps weights to 7 bits.
        levels = 64 if ort and "vnni" not in this_machine().features else 127
        omits = "sums and pooling in 8 bits" if ort else "NNCF's ranges by channel" + ", around zero" * target.symmetric
        return Scheme("INT8", "int8", "static", ort, target.ranges == "mean", levels, omits, exclude=target.exclude)
    if target.precision in WEIGHTS_ONLY:
        bits, block = target.precision.removesuffix("-weights"), _BLOCKS.get((target.runtime, target.precision), 32)
        return Scheme(
            f"{bits.upper()} weights of matrix products",
            target.precision,
            omits="the rounding of what enters them",
            heavy=("Gemm", "MatMul"),
            exclude=target.exclude,
            block=block,
        )
    if target.precision == "bf16":
        return Scheme("BF16", "bf16", "bf16")
    return Scheme("weights stored in FP16", "fp16") if target.precision == "fp16" else None


def affine(low: Any, high: Any) -> tuple[Any, Any]:
    """Scale and zero point of 8 unsigned bits over [low, high], widened to hold 0 exactly (ONNX QuantizeLinear)."""
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    step = (high - low) / 255
    step = np.where(step > np.finfo(np.float32).tiny, step, 1.0)
    return step, np.clip(np.round(-low / step), 0, 255)


def _channel_axis(node: onnx.NodeProto, ndim: int) -> int:
    """The axis of a weight that counts the layer's outputs."""
    if node.op_type == "Gemm":
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    return {"Conv": 0, "ConvTranspose": 1}.get(node.op_type, ndim - 1)


def _others(values: NDArray[np.float32], axis: int | None) -> tuple[int, ...]:
    return tuple(i for i in range(values.ndim) if i != axis)


def _symmetric(values: NDArray[np.float32], axis: int, levels: int) -> NDArray[np.float32]:
    step = np.abs(values).max(axis=_others(values, axis), keepdims=True) / np.float32(levels)
    step = np.where(step > 0, step, 1)
    return np.asarray(np.clip(np.round(values / step), -levels, levels) * step, dtype=np.float32)


def _compressed(values: NDArray[np.float32], axis: int, block: int, precision: str) -> NDArray[np.float32]:
    """A matrix (two axes) whose blocks along the axis of inputs share a scale."""
    if values.ndim != 2:
        return values
    rows = np.moveaxis(values, axis, 0)
    outputs, inputs = rows.shape
    block = block or inputs
    blocks = np.pad(rows, ((0, 0), (0, -inputs % block))).reshape(outputs, -1, block)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2, keepdims=True), axis=2)
    largest = np.where(largest == 0, 1, largest)
    if precision == "nf4-weights":
        table = np.array(_NF4, np.float32)
        scale = np.abs(largest)
        rounded = table[np.abs((blocks / scale)[..., None] - table).argmin(axis=3)] * scale
    elif precision == "int4-weights":
        # The value that is largest, whatever its sign, is stored as -8.
        rounded = np.clip(np.round(blocks / (largest / -8)), -8, 7) * (largest / -8)
    else:
        rounded = np.round(blocks / (np.abs(largest) / 127)) * (np.abs(largest) / 127)
    done = rounded.reshape(outputs, -1)[:, :inputs]
    return np.ascontiguousarray(np.moveaxis(done, 0, axis), dtype=np.float32)


def _asymmetric(values: NDArray[np.float32], axis: int | None) -> NDArray[np.float32]:
    others = _others(values, axis)
    step, zero = affine(
        values.min(axis=others, keepdims=True).astype(np.float64),
        values.max(axis=others, keepdims=True).astype(np.float64),
    )
    return np.asarray((np.clip(np.round(values / step) + zero, 0, 255) - zero) * step, dtype=np.float32)


def _to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The nearest bfloat16, ties to even, as float32."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32).reshape(values.shape)
