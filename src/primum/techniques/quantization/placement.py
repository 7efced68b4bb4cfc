"""Where roundings go in a network, so that runtimes can run whole chains of it in integers.

A convolution becomes integer in ONNX Runtime only between two roundings: its input's and its output's, after a ReLU
that follows. A residual addition does when both its inputs and its sum are rounded. Linear layers need a rounded input
alone. The results of the network are never rounded.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

import torch
from torch import fx, nn

from primum.techniques.quantization.fake import FakeActivation, FakeLayer
from primum.techniques.quantization.graph import calls_of, changes_nothing, module_at, only_user, set_module, trace
from primum.techniques.quantization.layers import Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sized

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ADDITIONS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_SAME_VALUES_MODULES = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.Flatten, nn.Unflatten)
_SAME_VALUES = {
    "flatten",
    "reshape",
    "view",
    "permute",
    "transpose",
    "contiguous",
    "squeeze",
    "unsqueeze",
    "max_pool2d",
}


def insert(model: nn.Module, bits: int, keep: tuple[str, ...], learned: bool) -> tuple[nn.Module, tuple[Skipped, ...]]:
    """The traced model with roundings in it (not yet active), and the layers that stay in FP32.

    `keep` names layers that are to stay. Raises TrialError where the model cannot be traced.
    """
    graph = trace(model)
    calls = calls_of(graph.graph)
    layers, skipped = _choose(model, calls, keep)
    places = _places(graph, {calls[name][0] for name in layers})
    roundings = {node: FakeActivation(learned) for node in places}
    for name in layers:
        source = roundings[_source(graph, calls[name][0].args[0])]
        set_module(graph, name, FakeLayer(model.get_submodule(name), bits, source))
    for number, node in enumerate(places):
        _round_after(graph, node, f"rounding_{number}", roundings[node])
    graph.graph.lint()
    graph.recompile()
    return graph, skipped


def insert_by_layer(
    model: nn.Module, bits: int, keep: tuple[str, ...], learned: bool
) -> tuple[nn.Module, tuple[Skipped, ...]]:
    """As `insert`, without a trace and in place: each layer rounds its own input and nothing else."""
    once = {name: [None] for name, _ in model.named_modules()}
    layers, skipped = _choose(model, once, keep)
    for name in layers:
        rounding = FakeActivation(learned)
        layer = nn.Sequential(rounding, FakeLayer(model.get_submodule(name), bits, rounding))
        if not name:
            return layer, skipped
        set_module(model, name, layer)
    return model, skipped


def _choose(
    model: nn.Module, calls: Mapping[str, Sized], keep: tuple[str, ...]
) -> tuple[list[str], tuple[Skipped, ...]]:
    from primum.techniques.quantization.layers import weighted_layers

    layers, skipped = [], []
    for name, module in weighted_layers(model):
        why = _obstacle(name, module, calls, keep)
        if why:
            skipped.append(Skipped(name, type(module).__name__, why))
        else:
            layers.append(name)
    return layers, tuple(skipped)


def _obstacle(name: str, module: nn.Module, calls: Mapping[str, Sized], keep: tuple[str, ...]) -> str | None:
    if name in keep:
        return "it was asked to stay"
    if not isinstance(module, (*CONVOLUTIONS, nn.Linear)):
        return "only convolutions and linear layers are trained with rounding"
    if isinstance(module, CONVOLUTIONS) and module.padding_mode != "zeros":
        return f"it pads with {module.padding_mode}"
    if len(calls.get(name, ())) != 1:
        return f"it is called {len(calls.get(name, ()))} times"
    return None


def _places(graph: fx.GraphModule, chosen: set[fx.Node]) -> list[fx.Node]:
    """The nodes whose results are rounded, in the order of the graph."""
    places: set[fx.Node] = set()
    convolved = {n for n in chosen if isinstance(module_at(graph, n), CONVOLUTIONS)}
    for node in chosen:
        places.add(_source(graph, node.args[0]))
        if node in convolved:
            places.add(_after_relu(graph, node))
    changed = True
    while changed:  # a sum of roundings is rounded, and may itself be added to
        changed = False
        for node in graph.graph.nodes:
            if _is_addition(node) and any(_source(graph, a) in places for a in _tensors(node)):
                wanted = {_source(graph, a) for a in _tensors(node)} | {_after_relu(graph, node)}
                changed |= not wanted <= places and bool(convolved)
                places |= wanted if convolved else set()
    return [n for n in graph.graph.nodes if n in places and not _is_result(graph, n)]


def _round_after(graph: fx.GraphModule, node: fx.Node, name: str, rounding: FakeActivation) -> None:
    graph.add_module(name, rounding)
    with graph.graph.inserting_after(node):
        rounded = graph.graph.call_module(name, (node,))
    for user in list(node.users):
        if user is not rounded and user.op != "output":
            user.replace_input_with(node, rounded)


def _source(graph: fx.GraphModule, node: object) -> fx.Node:
    """The node whose values `node` hands on: through pooling by maximum, reshaping and dropout."""
    assert isinstance(node, fx.Node)
    while _keeps_values(graph, node):
        node = node.args[0]
        assert isinstance(node, fx.Node)
    return node


def _keeps_values(graph: fx.GraphModule, node: fx.Node) -> bool:
    module = module_at(graph, node)
    if module is not None:
        return isinstance(module, _SAME_VALUES_MODULES) or changes_nothing(module)
    name = getattr(node.target, "__name__", node.target)
    return node.op in ("call_function", "call_method") and name in _SAME_VALUES and bool(node.args)


def _after_relu(graph: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The ReLU that alone uses this node, through modules that change nothing; else the node itself."""
    user = only_user(node)
    while user is not None and changes_nothing(module_at(graph, user)):
        user = only_user(user)
    if user is None:
        return node
    name = getattr(user.target, "__name__", user.target)
    is_relu = isinstance(module_at(graph, user), nn.ReLU) or (user.op != "call_module" and name in ("relu", "relu_"))
    return user if is_relu else node


def _is_addition(node: fx.Node) -> bool:
    adds = node.op in ("call_function", "call_method") and node.target in _ADDITIONS
    return adds and len(list(_tensors(node))) == 2


def _tensors(node: fx.Node) -> Iterator[fx.Node]:
    return (a for a in node.args[:2] if isinstance(a, fx.Node))


def _is_result(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether every user leads to the network's result without another layer."""
    return all(u.op == "output" or (_keeps_values(graph, u) and _is_result(graph, u)) for u in node.users)
