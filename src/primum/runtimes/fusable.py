"""Attention blocks of a graph in the form that onnxruntime.transformers looks for: the same function, other operators.

Its matchers know a padding mask as (1 - cast(unsqueeze(unsqueeze(mask)))) * lowest, and follow the first of two sums
that meet in a residual addition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from primum.runtimes.nodes import constants_of

if TYPE_CHECKING:
    import onnx

_BLOCK = ("MatMul", "Reshape", "Transpose", "MatMul")
"""What leads to an attention block's projection, backwards."""


def make_fusable(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite `model` in place; returns it."""
    _one_axis_each(model)
    while _hoist_unsqueeze(model):
        pass
    _block_first(model)
    return model


def _one_axis_each(model: onnx.ModelProto) -> None:
    """Unsqueeze by several axes as one after the other: exporters join them."""
    from onnx import helper, numpy_helper

    axes_of = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if 2 <= np.prod(t.dims, dtype=int) < 8}
    for place, node in reversed(list(enumerate(model.graph.node))):
        axes = axes_of.get(node.input[1]) if node.op_type == "Unsqueeze" and len(node.input) == 2 else None
        if axes is None or axes.ndim != 1 or (axes < 0).any():
            continue
        source = node.input[0]
        for number, axis in enumerate(sorted(axes.tolist())):
            last = number == len(axes) - 1
            name = f"{node.output[0]}_axis_{axis}"
            model.graph.initializer.append(numpy_helper.from_array(np.array([axis], np.int64), f"{name}_value"))
            out = node.output[0] if last else name
            made = helper.make_node("Unsqueeze", [source, f"{name}_value"], [out], name=name)
            model.graph.node.insert(place + number, made)
            source = out
        model.graph.node.remove(node)


def _hoist_unsqueeze(model: onnx.ModelProto) -> bool:
    """Move one Unsqueeze before the cast, or the sum or product with a number, whose result it takes; whether it did.

    So that masks are made as they are where a padding mask is widened first.
    """
    from onnx import helper

    made = {name: node for node in model.graph.node for name in node.output}
    uses = _uses(model)
    scalars = _scalars(model)
    for node in model.graph.node:
        before = made.get(node.input[0]) if node.op_type == "Unsqueeze" else None
        if before is None or uses[before.output[0]] != 1 or before.op_type not in ("Cast", "Sub", "Mul"):
            continue
        inner = [i for i, name in enumerate(before.input) if name not in scalars]
        if len(inner) != 1:
            continue
        wide = f"{node.output[0]}_before_{before.op_type}"
        first = helper.make_node("Unsqueeze", [before.input[inner[0]], *node.input[1:]], [wide], name=wide)
        first.attribute.extend(node.attribute)
        before.input[inner[0]] = wide
        model.graph.node.insert(list(model.graph.node).index(before), first)
        before.output[0] = node.output[0]
        model.graph.node.remove(node)
        return True
    return False


def _block_first(model: onnx.ModelProto) -> None:
    """In a sum of two sums, put that of an attention block first."""
    made = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type == "Add" and _ends_block(made, node.input[1]) and not _ends_block(made, node.input[0]):
            node.input[0], node.input[1] = node.input[1], node.input[0]


def _ends_block(made: dict[str, onnx.NodeProto], name: str) -> bool:
    node = made.get(name)
    if node is None or node.op_type != "Add":
        return False
    projections = [made[i] for i in node.input if i in made and made[i].op_type == "MatMul"]
    return any(_leads(made, p) for p in projections)


def _leads(made: dict[str, onnx.NodeProto], node: onnx.NodeProto) -> bool:
    for kind in _BLOCK[1:]:
        before = made.get(node.input[0])
        if before is None or before.op_type != kind:
            return False
        node = before
    return True


def _uses(model: onnx.ModelProto) -> dict[str, int]:
    found: dict[str, int] = dict.fromkeys((o.name for o in model.graph.output), 1)
    for node in model.graph.node:
        for name in node.input:
            found[name] = found.get(name, 0) + 1
    return found


def _scalars(model: onnx.ModelProto) -> set[str]:
    """Names of the constants that are a single number without axes of their own: wider ones would meet others."""
    known = constants_of(model)
    small = {t.name for t in model.graph.initializer if not t.dims}
    for node in model.graph.node:
        if node.op_type == "Constant" and any(a.name == "value" and not a.t.dims for a in node.attribute):
            small.update(node.output)
    return small & known
