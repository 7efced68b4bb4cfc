"""Matrix products that read stored weights of 8 or 4 bits, for ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from primum.errors import TrialError
from primum.runtimes.base import Target
from primum.runtimes.facts import graph_facts
from primum.runtimes.nodes import forget_constants, nodes_of

if TYPE_CHECKING:
    import onnx

_BLOCKS = {8: 128, 4: 32}
"""Values of a weight that share one scale, by bits."""


def compress_weights(model: onnx.ModelProto, target: Target, path: Path) -> tuple[str, ...]:
    """Write `model` with the weights of its matrix products compressed to `path`; returns notes.

    Raises InputError for an unknown name in `exclude`, TrialError where nothing could be compressed.
    """
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    bits = 8 if target.precision == "int8-weights" else 4
    kept = [node.name for node in nodes_of(model, target.exclude)]
    total = graph_facts(model).products
    model = _products_only(model, kept)
    quantizer = MatMulNBitsQuantizer(
        model, bits=bits, block_size=_BLOCKS[bits], is_symmetric=True, accuracy_level=4, nodes_to_exclude=kept
    )
    _quietly(quantizer.process)
    done = sum(node.op_type == "MatMulNBits" for node in quantizer.model.model.graph.node)
    if not done:
        raise TrialError("ONNX Runtime compressed no matrix product of this graph")
    onnx.save(quantizer.model.model, path)
    return (f"weights of {done} of {total} matrix products stored in {bits} bits, blocks of {_BLOCKS[bits]}",)


def _quietly(work: Callable[[], Any]) -> None:
    logger = logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer")
    disabled, logger.disabled = logger.disabled, True
    try:
        work()
    finally:
        logger.disabled = disabled


def _products_only(model: onnx.ModelProto, kept: list[str]) -> onnx.ModelProto:
    """Every Gemm with a stored weight as MatMul and Add, the form that 4-bit products exist in."""
    from onnx import helper, numpy_helper

    graph = model.graph
    stored = {t.name: t for t in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    turned: set[str] = set()
    for node in graph.node:
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        plain = not settings.get("transA", 0) and settings.get("alpha", 1.0) == settings.get("beta", 1.0) == 1.0
        if node.op_type != "Gemm" or node.name in kept or node.input[1] not in stored or not plain:
            nodes.append(node)
            continue
        weight = node.input[1]
        if settings.get("transB", 0):
            weight = f"{node.name}/weight"
            turned.add(node.input[1])
            values = numpy_helper.to_array(stored[node.input[1]])
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values.T), weight))
        has_bias = len(node.input) > 2 and bool(node.input[2])
        product = f"{node.name}/product" if has_bias else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], weight], [product], name=node.name))
        if has_bias:
            nodes.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}/bias"))
    nodes = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    forget_constants(graph, turned)
    return model
