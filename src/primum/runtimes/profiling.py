"""Milliseconds of each layer in a built graph, from the runtime's own counters."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from primum.errors import TrialError
from primum.runtimes.base import Target, cores
from primum.runtimes.nodes import name_nodes, stems_from, weighted_modules

_WARM = 3
_FUSED = ("Add", "BatchNormalization", "Clip", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Tanh")


@dataclass(frozen=True)
class LayerTimes:
    """Milliseconds of one call at batch 1: of each its fastest tenth, which other work on the machine hinders least."""

    layers: Mapping[str, float]
    """By module path; what runs fused into a layer counts with it."""
    total: float
    """Of all operators, those that belong to no layer included."""


def layer_times(
    folder: Path, target: Target, export: Path, cases: NDArray[np.float32], repeats: int = 20
) -> LayerTimes:
    """Profile the graph that `target`'s adapter built into `folder` from `export`, on `cases` one at a time.

    Raises TrialError where the runtime has no counters, or none of its operators can be traced to a layer.
    """
    if target.runtime not in ("onnxruntime", "openvino"):
        raise TrialError(f"{target.runtime} does not say how long each layer takes")
    measure = _onnxruntime if target.runtime == "onnxruntime" else _openvino
    samples = measure(folder, target, cases, repeats)
    model = name_nodes(onnx.load(export, load_external_data=False))
    times: dict[str, float] = {}
    claimed: set[str] = set()
    for path, nodes in weighted_modules(model).items():
        mine = [name for node in nodes for name in _found(_aliases(model, node), samples, claimed)]
        claimed.update(mine)
        if mine:
            times[path] = _unhindered([samples[name] for name in mine])
    if not times:
        raise TrialError(f"none of the operators that {target.runtime} times can be traced to a layer")
    return LayerTimes(times, _unhindered(list(samples.values())))


def _unhindered(samples: list[NDArray[np.float64]]) -> float:
    """The fastest tenth of what operators took together, each (repeats,)."""
    return float(np.quantile(np.sum(samples, axis=0), 0.1, method="lower"))


def _aliases(model: onnx.ModelProto, node: onnx.NodeProto) -> list[str]:
    """Names that a runtime may give an operator: its own, its result's, or that of what it fused behind it."""
    names, result = [node.name, node.output[0]], node.output[0]
    while len(readers := [n for n in model.graph.node if result in n.input]) == 1 and readers[0].op_type in _FUSED:
        result = readers[0].output[0]
        names += [readers[0].name, result]
    return names


def _found(aliases: list[str], samples: Mapping[str, NDArray[np.float64]], claimed: set[str]) -> list[str]:
    """The timed operators under the first alias that any has and no other layer took."""
    for alias in aliases:
        if found := [name for name in samples if name not in claimed and stems_from(name, alias)]:
            return found
    return []


def _onnxruntime(
    folder: Path, target: Target, cases: NDArray[np.float32], repeats: int
) -> dict[str, NDArray[np.float64]]:
    """Milliseconds (repeats,) by operator of the optimized graph."""
    import onnxruntime as ort

    from primum.runtimes.onnxruntime import FILE

    with tempfile.TemporaryDirectory(prefix="primum-") as scratch:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = target.threads or cores(), 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(scratch) / "profile")
        session = ort.InferenceSession(str(folder / FILE), options, providers=["CPUExecutionProvider"])
        entry = session.get_inputs()[0].name
        for i in range(_WARM + repeats):
            row = i % len(cases)
            session.run(None, {entry: np.ascontiguousarray(cases[row : row + 1])})
        events = json.loads(Path(session.end_profiling()).read_text())
    taken: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            taken[event["name"].removesuffix("_kernel_time")].append(event["dur"] / 1e3)
    return _whole(taken, repeats)


def _openvino(folder: Path, target: Target, cases: NDArray[np.float32], repeats: int) -> dict[str, NDArray[np.float64]]:
    """Milliseconds (repeats,) by operator, under the name of the export's operator that it computes first."""
    import openvino as ov

    from primum.runtimes.openvino import FILE, compile_settings

    settings = {**compile_settings(target), "PERF_COUNT": True}
    compiled = ov.Core().compile_model(str(folder / FILE), "CPU", settings)
    request = compiled.create_infer_request()
    taken: dict[str, list[float]] = defaultdict(list)
    for i in range(_WARM + repeats):
        row = i % len(cases)
        request.infer([np.ascontiguousarray(cases[row : row + 1])])
        spent: dict[str, float] = defaultdict(float)
        for record in request.profiling_info:
            spent[record.node_name.split("/DequantizationMultiply")[0]] += record.real_time.total_seconds() * 1e3
        for name, value in spent.items():
            taken[name].append(value)
    return _whole(taken, repeats)


def _whole(taken: Mapping[str, list[float]], repeats: int) -> dict[str, NDArray[np.float64]]:
    """The last `repeats` samples of operators that ran in every call; one that runs twice a call counts once."""
    return {
        name: np.asarray(values[-repeats:]) if len(values) < 2 * repeats else _summed(values, repeats)
        for name, values in taken.items()
        if len(values) >= repeats
    }


def _summed(values: list[float], repeats: int) -> NDArray[np.float64]:
    each = len(values) // (repeats + _WARM)
    summed: NDArray[np.float64] = np.asarray(values[-each * repeats :]).reshape(repeats, each).sum(axis=1)
    return summed
