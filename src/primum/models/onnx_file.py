"""Opening an .onnx file that a stranger made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import onnxruntime as ort

from primum.errors import InputError, UnsafeInput


@dataclass(frozen=True)
class OnnxFacts:
    """Names and shapes of the one input and the first output; a free axis is None."""

    input_name: str
    input_shape: tuple[int | None, ...]
    output_name: str


def check_onnx(path: Path) -> OnnxFacts:
    """Check that external data stay inside the model's folder, that the graph loads, and that it has one float input.

    Raises UnsafeInput or InputError.
    """
    external_files(path)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # ONNX Runtime's own exceptions share no public base class.
    except Exception as error:
        raise InputError(f"{path}: not an ONNX model that can be read ({str(error).splitlines()[0]})") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        whole = len(inputs) == 1 and inputs[0].type in ("tensor(int64)", "tensor(int32)")
        hint = "; export it anew from a module that takes float32 and calls .long() on it" if whole else ""
        raise InputError(f"{path}: expected one float32 input, found {[(i.name, i.type) for i in inputs]}{hint}")
    shape = tuple(d if isinstance(d, int) else None for d in inputs[0].shape)
    return OnnxFacts(inputs[0].name, shape, session.get_outputs()[0].name)


def external_files(path: Path) -> list[Path]:
    """The files that hold weights of the model, sorted. Raises UnsafeInput where one lies outside the model's folder.

    Without the onnx library they cannot be listed (and the list is empty); ONNX Runtime refuses to leave the folder.
    """
    try:
        import onnx
    except ImportError:
        return []
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise InputError(f"{path}: not an ONNX model that can be read") from error
    nodes = [n for f in model.functions for n in f.node]
    found = {e.value for t in _tensors(model.graph, nodes) for e in t.external_data if e.key == "location"}
    root = path.resolve().parent
    for location in found:
        parts = PurePosixPath(location.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or not (root / location).resolve().is_relative_to(root):
            raise UnsafeInput(f"{path}: its weights lie outside its folder; they were not read")
    return [path.parent / location for location in sorted(found)]


def _tensors(graph: Any, nodes: Iterable[Any] = ()) -> Iterator[Any]:
    """Every tensor of a graph and of `nodes`: initializers, constants, and those of graphs inside nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for attribute in (a for n in (*graph.node, *nodes) for a in n.attribute):
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for inner in (attribute.g, *attribute.graphs):
            yield from _tensors(inner)
