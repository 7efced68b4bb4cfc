"""Stored weights of a graph that was quantized in training: rounded once, in the file, instead of at every load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

ALREADY = "the export is quantized already and runs as it is"
"""The note of a build that quantizes nothing, for training did."""
_FOLDED = ("QuantizeLinear", "Clip", "Cast", "Identity", "Max", "Min", "Mul", "Div", "Abs", "ReduceMax", "Reshape")
"""Operators that lead from a weight to its rounded form. DequantizeLinear stays: it marks the weight as rounded."""


def fold_rounded_weights(model: onnx.ModelProto) -> int:
    """Replace every chain of constant operators that ends in a rounded weight by the 8-bit weight, in place.

    A quarter of the file, and what OpenVINO needs to see scales by channel. Returns how many weights became 8-bit.
    """
    from onnx import numpy_helper

    graph = model.graph
    known: dict[str, Any] = {t.name: t for t in graph.initializer}
    folded: dict[str, NDArray[Any]] = {}

    def value(name: str) -> NDArray[Any]:
        return folded[name] if name in folded else numpy_helper.to_array(known[name])

    gone, rounded = [], 0
    for node in graph.node:
        if node.op_type == "Constant":
            stored = next((a.t for a in node.attribute if a.name == "value"), None)
            if stored is not None:
                known[node.output[0]] = stored
            continue
        names = [name for name in node.input if name]
        if node.op_type not in _FOLDED or not names or not all(n in known or n in folded for n in names):
            continue
        folded[node.output[0]] = _evaluate(node, {name: value(name) for name in names}, model)
        gone.append(node)
        rounded += node.op_type == "QuantizeLinear"
    for node in gone:
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for name in folded.keys() & used:
        graph.initializer.append(numpy_helper.from_array(folded[name], name))
    read_before = {name for node in gone for name in node.input}
    for tensor in [t for t in graph.initializer if t.name in read_before - used]:
        graph.initializer.remove(tensor)
    return rounded


def _evaluate(node: onnx.NodeProto, inputs: dict[str, NDArray[Any]], model: onnx.ModelProto) -> NDArray[Any]:
    """What `node` gives for constant inputs, by ONNX's own reference implementation."""
    import numpy as np
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in inputs.items()
    ]
    outcome = helper.make_tensor_value_info(node.output[0], 0, None)
    graph = helper.make_graph([node], "constant", infos, [outcome])
    single = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    return np.asarray(ReferenceEvaluator(single).run(None, inputs)[0])
