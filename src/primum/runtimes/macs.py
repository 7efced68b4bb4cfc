"""Multiply-accumulates of an ONNX graph for one case, counted from shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]
_WEIGHTS = {"Conv": (1,), "ConvTranspose": (1,), "MatMul": (0, 1), "Gemm": (1,)} | dict.fromkeys(
    ("LSTM", "GRU", "RNN"), (1, 2)
)
"""Operators that are counted, and at which inputs their weights are."""
_UNCOUNTED = ("Loop", "Scan", "If", "Einsum", "MatMulInteger", "ConvInteger", "QLinearConv", "QLinearMatMul")
"""They multiply, by rules that are not counted here."""
_TOO_LARGE = 1_000_000_000
"""Bytes above which shapes are not inferred: a protobuf holds 2 GB."""


@dataclass(frozen=True)
class Macs:
    """`least` of them; so many where `exact`, else there are operators whose shapes cannot be told."""

    least: int = 0
    exact: bool = False


UNKNOWN = Macs()


def read_macs(path: Path) -> Macs:
    """Those of an ONNX file."""
    import onnx

    # Shapes are enough; large weights beside the file stay there.
    return count_macs(onnx.load(path, load_external_data=False))


def count_macs(model: onnx.ModelProto) -> Macs:
    """Those of convolutions, matrix products and recurrent layers."""
    known = _shapes(model)
    weights = {t.name for t in model.graph.initializer}
    least, exact = 0, True
    for node in model.graph.node:
        counted = _of_node(node, known)
        if counted is None:
            exact = False
            # Whatever the shapes are, a case is multiplied by each stored weight once or more.
            stored = [node.input[i] for i in _WEIGHTS.get(node.op_type, ()) if node.input[i] in weights]
            counted = sum(prod(known[name]) for name in stored)
        least += counted
    return Macs(least, exact)


def _of_node(node: onnx.NodeProto, known: Mapping[str, Shape]) -> int | None:
    """None where it cannot be told; 0 of operators that only move, add or compare values."""
    kind, given = node.op_type, node.input
    if node.domain not in ("", "ai.onnx") or kind in _UNCOUNTED:
        return None
    if kind not in _WEIGHTS:
        return 0
    if kind in ("LSTM", "GRU", "RNN"):
        shapes = _found(known, given[0], given[1], given[2])
        # Every step of every case multiplies all weights: those of the input and those of the state.
        return prod(shapes[0][:2]) * (prod(shapes[1]) + prod(shapes[2])) if shapes else None
    if kind in ("MatMul", "Gemm"):
        shapes = _found(known, node.output[0], given[0])
        turned = any(a.name == "transA" and a.i for a in node.attribute)
        return prod(shapes[0]) * shapes[1][-2 if turned else -1] if shapes else None
    # A convolution gathers a window for each value that it gives, a transposed one spreads each that it takes.
    shapes = _found(known, node.output[0] if kind == "Conv" else given[0], given[1])
    return prod(shapes[0]) * prod(shapes[1][1:]) if shapes else None


def _found(known: Mapping[str, Shape], *names: str) -> list[Shape] | None:
    return [known[name] for name in names] if all(name in known for name in names) else None


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Shapes of values for a batch of one; those that inference does not find are missing."""
    import onnx

    found = {t.name: tuple(t.dims) for t in model.graph.initializer}
    if model.ByteSize() > _TOO_LARGE:
        return found
    single = onnx.ModelProto()
    single.CopyFrom(model)
    del single.graph.value_info[:]
    for taken in single.graph.input:
        if taken.name not in found and taken.type.tensor_type.shape.dim:
            taken.type.tensor_type.shape.dim[0].dim_value = 1
    for given in single.graph.output:
        # Its axes bear the name of the batch, which would be kept in place of the number.
        given.type.tensor_type.ClearField("shape")
    try:
        graph = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        return found
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        dims = tuple(d.dim_value for d in tensor.shape.dim)  # 0 where an axis is free
        if tensor.HasField("shape") and all(dims):
            found[value.name] = dims
    return found
