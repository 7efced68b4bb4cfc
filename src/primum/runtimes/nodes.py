"""Which operators of an ONNX graph belong to which module of the network that was exported."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from primum.errors import InputError

if TYPE_CHECKING:
    import onnx

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN")
"""Operators that hold a network's weights."""
_SCOPES = "pkg.torch.onnx.name_scopes"
_RENAMED = re.compile(r"(/.*|_token_\d+|_quant|_nchwc|_Q4|_Q8)*")
"""What runtimes append to the name of an operator that they rewrite."""


def module_path(node: onnx.NodeProto, constants: Mapping[str, Any] | Iterable[str]) -> str:
    """The module's path in the network ("layer1.0.conv1") as far as the exporter kept it, else the node's own name."""
    known = set(constants)
    for name in node.input[1:]:
        path, dot, _ = name.rpartition(".")
        if name in known and dot and not {":", "/"} & set(name):
            return str(path)
    scopes = next((p.value for p in node.metadata_props if p.key == _SCOPES), "")
    if scopes:
        try:
            path = str(ast.literal_eval(scopes)[-2])
        except (ValueError, SyntaxError, IndexError, TypeError):
            path = ""
        if path:
            return path
    parts: list[str] = []
    for part in node.name.split("/")[:-1]:
        # The tracing exporter writes /layer1/layer1.0/conv1/Conv.
        if parts and part.startswith(parts[-1] + "."):
            parts.pop()
        parts += [part] if part else []
    return ".".join(parts) or str(node.name or node.output[0])


def name_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give nameless nodes of `model` a name (that of their first output), in place."""
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    return model


def constants_of(model: onnx.ModelProto) -> frozenset[str]:
    """Names of the tensors that hold values: initializers, and what Constant nodes and dequantized weights give."""
    names = {t.name for t in model.graph.initializer}
    for node in model.graph.node:
        stored = node.op_type == "Constant" or (
            node.op_type in ("DequantizeLinear", "QuantizeLinear", "Identity", "Transpose", "Cast")
            and all(name in names for name in node.input if name)
        )
        if stored:
            names.update(node.output)
    return frozenset(names)


def weighted_modules(model: onnx.ModelProto) -> dict[str, tuple[onnx.NodeProto, ...]]:
    """Operators with weights by the path of their module, in the order in which they compute."""
    constants = constants_of(model)
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        if node.op_type in WEIGHTED and any(name in constants for name in node.input):
            found.setdefault(module_path(node, constants), []).append(node)
    return {path: tuple(nodes) for path, nodes in found.items()}


def nodes_of(model: onnx.ModelProto, modules: Iterable[str]) -> tuple[onnx.NodeProto, ...]:
    """The weighted operators of `modules`; a name stands for the module and all within it.

    Raises InputError where a name is that of no module with weights, with the nearest names.
    """
    known = weighted_modules(model)
    chosen: dict[str, tuple[onnx.NodeProto, ...]] = {}
    for name in modules:
        paths = [path for path in known if path == name or path.startswith(f"{name}.")]
        if not paths:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or list(known)[:3]
            listed = f"did you mean {', '.join(near)}?" if near else "it has none"
            raise InputError(f"exclude: the network has no layer {name!r} with weights; {listed}")
        chosen.update({path: known[path] for path in paths})
    return tuple(node for nodes in chosen.values() for node in nodes)


def stems_from(name: str, node: str) -> bool:
    """Whether an operator called `name` in a rewritten graph is the export's operator called `node`."""
    return name.startswith(node) and _RENAMED.fullmatch(name[len(node) :]) is not None


def before_layers(model: onnx.ModelProto) -> tuple[str, ...]:
    """Names of the operators that no weighted operator precedes: preparation of the input inside the graph."""
    after: set[str] = set()
    names = []
    for node in model.graph.node:
        if node.op_type in WEIGHTED or not after.isdisjoint(node.input):
            after.update(node.output)
        else:
            names.append(node.name)
    return tuple(names)


def forget_constants(graph: onnx.GraphProto, names: set[str]) -> None:
    """Remove the initializers among `names` that nothing reads any more."""
    used = {name for node in graph.node for name in node.input}
    for tensor in [t for t in graph.initializer if t.name in names - used]:
        graph.initializer.remove(tensor)
