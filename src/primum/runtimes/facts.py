"""What an export holds, as far as precisions depend on it, and which targets can therefore not work."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from primum.runtimes.base import WEIGHTS_ONLY, Target
from primum.runtimes.nodes import constants_of

if TYPE_CHECKING:
    import onnx

_ATTENTION = ("Attention", "MultiHeadAttention")
FOUR_BITS = ("int4-weights", "nf4-weights")
BLOCK = 32
"""Inputs of a product that share one scale where OpenVINO holds 4-bit weights."""
_PASSING = ("Dropout", "Identity", "Cast", "Where", "IsNaN", "QuantizeLinear", "DequantizeLinear")
"""What may stand between a softmax and the product that it weighs."""


@dataclass(frozen=True)
class GraphFacts:
    """Counts of the operators that decide which precisions are possible."""

    convolutions: int = 0
    products: int = 0
    """Matrix products (MatMul, Gemm) by a stored weight."""
    product_bytes: int = 0
    """Bytes of those weights at 4 bytes a value."""
    product_shapes: tuple[tuple[int, int], ...] | None = None
    """(inputs, outputs) of each of them; None where one is not known."""
    depthwise: int = 0
    """Convolutions of one input channel a group: their channels differ most in range."""
    lstms: int = 0
    grus: int = 0
    attentions: int = 0
    """Attention blocks: a softmax whose result is multiplied, or a single operator."""
    quantized: bool = False
    """QuantizeLinear or DequantizeLinear are in it: quantization-aware training was done before."""

    @property
    def transformer(self) -> bool:
        """Whether attention is what the network is made of."""
        return self.attentions > 0


def read_facts(path: Path) -> GraphFacts:
    """Facts of an ONNX file."""
    import onnx

    return graph_facts(onnx.load(path))


def graph_facts(model: onnx.ModelProto) -> GraphFacts:
    """Facts of an ONNX graph; initializers need shapes alone."""
    constants = constants_of(model)
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    kinds = Counter(node.op_type for node in model.graph.node)
    products = [
        n for n in model.graph.node if n.op_type in ("MatMul", "Gemm", "MatMulNBits") and n.input[1] in constants
    ]
    return GraphFacts(
        convolutions=kinds["Conv"] + kinds["ConvTranspose"],
        products=len(products),
        product_bytes=4 * sum(sizes.get(n.input[1], 0) for n in products),
        product_shapes=_product_shapes(products, shapes),
        depthwise=sum(n.op_type == "Conv" and _depthwise(n, shapes.get(n.input[1], ())) for n in model.graph.node),
        lstms=kinds["LSTM"],
        grus=kinds["GRU"] + kinds["RNN"],
        attentions=sum(kinds[k] for k in _ATTENTION) + _softmax_products(model),
        quantized=bool(kinds["QuantizeLinear"] + kinds["DequantizeLinear"]),
    )


def _product_shapes(
    products: list[onnx.NodeProto], shapes: dict[str, tuple[int, ...]]
) -> tuple[tuple[int, int], ...] | None:
    found = []
    for node in products:
        shape = shapes.get(node.input[1], ())
        if node.op_type == "MatMulNBits" or len(shape) != 2:
            return None
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        found.append((shape[1], shape[0]) if turned else (shape[0], shape[1]))
    return tuple(found)


def _depthwise(node: onnx.NodeProto, weight: tuple[int, ...]) -> bool:
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    return groups > 1 and len(weight) > 1 and weight[1] == 1


def infeasible(target: Target, facts: GraphFacts) -> str | None:
    """Why `target` cannot be built from such a graph, before any time is spent; None where nothing speaks against."""
    if target.precision in WEIGHTS_ONLY:
        if facts.quantized:
            return "the export is quantized already"
        if not facts.products:
            return "no matrix product to compress; 4-bit convolutions do not exist on CPU"
        if target.runtime == "openvino" and facts.product_shapes is not None:
            return _openvino_takes_none(target.precision, facts.product_shapes)
    if target.precision == "int8-dynamic" and facts.quantized:
        return "the export is quantized already, with ranges of its own"
    if target.precision == "int8" and not facts.convolutions + facts.products:
        return "no convolution and no matrix product with stored weights: ranges set beforehand help nothing else"
    if target.precision == "int8-dynamic" and not facts.convolutions + facts.products + facts.lstms:
        return "no convolution, matrix product or LSTM with stored weights"
    if target.fused_attention and not facts.attentions:
        return "no attention block to fuse"
    return None


def _openvino_takes_none(precision: str, shapes: tuple[tuple[int, int], ...]) -> str | None:
    """Measured: OpenVINO multiplies by one column in floats, and NNCF packs 4 bits in whole blocks of inputs alone."""
    if all(outputs == 1 for _, outputs in shapes):
        return "OpenVINO keeps no compressed weights for products with a single output, and there are no others"
    if precision in FOUR_BITS and all(inputs % BLOCK or outputs == 1 for inputs, outputs in shapes):
        return f"no matrix product that OpenVINO could take has inputs in blocks of {BLOCK}"
    return None


def _softmax_products(model: onnx.ModelProto) -> int:
    """How many softmaxes weigh something by a matrix product."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def multiplies(name: str, depth: int = 0) -> bool:
        nodes = readers.get(name, [])
        return any(n.op_type == "MatMul" for n in nodes) or (
            depth < 4 and any(multiplies(n.output[0], depth + 1) for n in nodes if n.op_type in _PASSING)
        )

    return sum(multiplies(n.output[0]) for n in model.graph.node if n.op_type == "Softmax")
