"""Single layers of an ONNX graph, and copies of the graph in which some of them compute as a candidate would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from primum.runtimes.base import cores
from primum.runtimes.nodes import module_path
from primum.study.scheme import HEAVY, Range, affine

if TYPE_CHECKING:
    import onnx

RECURRENT = ("LSTM", "GRU", "RNN", "Attention")
_SCOPES = "pkg.torch.onnx.name_scopes"

Constants = dict[int, NDArray[np.float32]]
"""Input slot of a node -> the constant there."""


@dataclass(frozen=True)
class Layer:
    """Nodes that belong to one module of the network, by position in the graph."""

    name: str
    kind: str
    """Operator of its largest constant."""
    nodes: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Change:
    """What becomes of one node: other constants at some inputs, and how what enters and leaves it is rounded."""

    node: int
    constants: Constants
    activation: str = ""
    """As in Scheme."""
    rounds_output: bool = False
    enters: Range | None = None
    leaves: Range | None = None


@dataclass
class Network:
    """A graph with its float constants by name."""

    model: onnx.ModelProto
    constants: Mapping[str, NDArray[np.float32]] = field(init=False)

    def __post_init__(self) -> None:
        import onnx

        found = {t.name: t for t in self.model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT}
        self.constants = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in found.items()}

    @property
    def nodes(self) -> Sequence[onnx.NodeProto]:
        """The nodes in the order in which they compute."""
        return self.model.graph.node  # type: ignore[no-any-return]

    def constants_of(self, node: onnx.NodeProto) -> Constants:
        """The float constants among a node's inputs."""
        return {i: self.constants[name] for i, name in enumerate(node.input) if name in self.constants}

    def layers(self) -> tuple[Layer, ...]:
        """Every module that holds float constants, in the order in which they compute."""
        members: dict[str, list[int]] = {}
        for place, node in enumerate(self.nodes):
            if self.constants_of(node):
                members.setdefault(module_path(node, self.constants), []).append(place)
        return tuple(self._layer(name, places) for name, places in members.items())

    def unweighted(self) -> tuple[str, ...]:
        """Names of the products whose second factor is computed: there is no weight to substitute."""
        return tuple(
            module_path(n, self.constants)
            for n in self.nodes
            if n.op_type in HEAVY and n.input[1] not in self.constants
        )

    def leaves(self, node: onnx.NodeProto) -> str:
        """The tensor whose range holds for what leaves `node`: behind a Relu that alone reads it, the Relu's."""
        output = str(node.output[0])
        readers = [other for other in self.nodes if output in other.input]
        return str(readers[0].output[0]) if len(readers) == 1 and readers[0].op_type == "Relu" else output

    def answers(self, node: onnx.NodeProto) -> bool:
        """Whether `node` is a matrix product that gives the network's answer, which ONNX Runtime does not round."""
        return node.op_type in ("Gemm", "MatMul") and node.output[0] in {o.name for o in self.model.graph.output}

    def places(self, layer: Layer) -> dict[tuple[str, int], int]:
        """The layer's nodes under (operator, how many-eth of its kind): how two exports of one module are matched."""
        seen: Counter[str] = Counter()
        found = {}
        for place in layer.nodes:
            kind = self.nodes[place].op_type
            found[kind, seen[kind]] = place
            seen[kind] += 1
        return found

    def changed(self, changes: Iterable[Change]) -> bytes:
        """The graph, serialized, with `changes` made."""
        import onnx

        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        by_node = {change.node: change for change in changes}
        nodes = []
        for place, node in enumerate(copy.graph.node):
            if place in by_node:
                nodes += _substitute(copy.graph, node, by_node[place])
            else:
                nodes.append(node)
        nodes = [_clone(node) for node in nodes]
        del copy.graph.node[:]
        copy.graph.node.extend(nodes)
        return copy.SerializeToString()  # type: ignore[no-any-return]

    def ranges(self, names: Sequence[str], cases: NDArray[np.float32], mean: bool) -> dict[str, Range]:
        """Range of each named tensor over `cases` (N, *input_shape), run one at a time: extremes, or means of them."""
        import onnx

        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        entry = copy.graph.input[0].name
        inner = [name for name in dict.fromkeys(names) if name != entry]
        known = {output.name for output in copy.graph.output}
        copy.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            for name in inner
            if name not in known
        )
        session = open_graph(copy.SerializeToString())
        ends = np.empty((len(cases), len(inner) + 1, 2))
        for i in range(len(cases)):
            case = np.ascontiguousarray(cases[i : i + 1])
            seen = [case, *(session.run(inner, {entry: case}) if inner else [])]
            ends[i] = [(tensor.min(), tensor.max()) for tensor in seen]
        low, high = ends[:, :, 0], ends[:, :, 1]
        lows, highs = (low.mean(0), high.mean(0)) if mean else (low.min(0), high.max(0))
        return {name: Range(float(a), float(b)) for name, a, b in zip([entry, *inner], lows, highs)}

    def _layer(self, name: str, places: Sequence[int]) -> Layer:
        sizes = {p: max(c.size for c in self.constants_of(self.nodes[p]).values()) for p in places}
        parameters = {
            n: c.size for p in places for n in self.nodes[p].input if (c := self.constants.get(n)) is not None
        }
        largest = max(places, key=lambda p: sizes[p])
        return Layer(name, str(self.nodes[largest].op_type), tuple(places), sum(parameters.values()))


def open_graph(graph: bytes) -> Any:
    """An ONNX Runtime session on the CPU that leaves quantize and dequantize nodes where they stand."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = cores(), 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _substitute(graph: onnx.GraphProto, node: onnx.NodeProto, change: Change) -> list[onnx.NodeProto]:
    """`node` with its new constants, between the nodes that round what enters and what leaves it."""
    from onnx import numpy_helper

    own = f"primum/{change.node}"
    for slot, values in change.constants.items():
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), f"{own}/{slot}"))
        node.input[slot] = f"{own}/{slot}"
    nodes = [node]
    if change.activation:
        source, node.input[0] = node.input[0], f"{own}/entered"
        nodes = [*_rounding(graph, source, node.input[0], change.activation, change.enters), *nodes]
    if change.rounds_output:
        name, node.output[0] = node.output[0], f"{own}/left"
        nodes += _rounding(graph, node.output[0], name, "static", change.leaves)
    return nodes


def _rounding(
    graph: onnx.GraphProto, source: str, result: str, kind: str, range_: Range | None
) -> list[onnx.NodeProto]:
    """Nodes that compute the tensor `result`: `source` stored in fewer bits and read back."""
    from onnx import TensorProto, helper, numpy_helper

    own = f"primum/{result}"
    stored, scale, zero = f"{own}/stored", f"{own}/scale", f"{own}/zero"
    if kind == "bf16":
        return [
            helper.make_node("Cast", [source], [stored], to=TensorProto.BFLOAT16),
            helper.make_node("Cast", [stored], [result], to=TensorProto.FLOAT),
        ]
    back = helper.make_node("DequantizeLinear", [stored, scale, zero], [result])
    if kind == "dynamic":
        return [helper.make_node("DynamicQuantizeLinear", [source], [stored, scale, zero]), back]
    assert range_ is not None
    step, origin = affine(np.float64(range_.low), np.float64(range_.high))
    graph.initializer.append(numpy_helper.from_array(np.asarray(step, np.float32), scale))
    graph.initializer.append(numpy_helper.from_array(np.asarray(origin, np.uint8), zero))
    return [helper.make_node("QuantizeLinear", [source, scale, zero], [stored]), back]


def _clone(node: onnx.NodeProto) -> onnx.NodeProto:
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
