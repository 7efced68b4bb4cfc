"""8-bit graphs for ONNX Runtime, from a lossless export."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError, TrialError
from primum.hardware.machine import this_machine
from primum.runtimes.base import BuildSource, Target
from primum.runtimes.entropy import save_ranges
from primum.runtimes.facts import GraphFacts, graph_facts, infeasible
from primum.runtimes.folding import ALREADY, fold_rounded_weights
from primum.runtimes.nodes import before_layers, forget_constants, name_nodes, nodes_of, stems_from
from primum.runtimes.ort_weights import compress_weights

if TYPE_CHECKING:
    import onnx

_SATURATES = "its 8-bit weights may saturate in products: this CPU has no VNNI"
_HISTOGRAM_CASES = 64
"""Histograms keep every inner value of every case in memory."""
_PERCENTILE = 99.99
_PRODUCTS = ["Conv", "MatMul", "Gemm"]
_ORDERLY = ("Relu", "Clip", "LeakyRelu", "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze")
"""Operators that hand on the values that enter them, so that rounding before them is rounding after them."""


def quantize_graph(source: BuildSource, export: Path, target: Target, path: Path) -> tuple[str, ...]:
    """Write `export` at the target's 8-bit or 4-bit precision to `path`; returns notes.

    Raises InputError for an unknown name in `exclude`, TrialError where the graph holds nothing to quantize or ONNX
    Runtime fails.
    """
    import onnx

    model = name_nodes(onnx.load(export))
    facts = graph_facts(model)
    if why := infeasible(target, facts):
        raise TrialError(why)
    if facts.quantized:
        if target.exclude:
            raise InputError("exclude: the export is quantized already, layer by layer as it was trained")
        fold_rounded_weights(model)
        onnx.save(model, path)
        return (ALREADY,) if "vnni" in this_machine().features else (ALREADY, _SATURATES)
    if target.precision.endswith("-weights"):
        return compress_weights(model, target, path)
    # Messages of the quantizer go to the root logger.
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        return _integer(source, model, facts, target, path)
    finally:
        root.setLevel(level)


def _integer(
    source: BuildSource, model: onnx.ModelProto, facts: GraphFacts, target: Target, path: Path
) -> tuple[str, ...]:
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="primum-") as folder:
        prepared = str(Path(folder) / "prepared.onnx")
        onnx.save(model, Path(folder) / "named.onnx")
        quant_pre_process(str(Path(folder) / "named.onnx"), prepared, skip_symbolic_shape=True)
        kept = _kept(model, onnx.load(prepared, load_external_data=False), target.exclude)
        if target.precision == "int8-dynamic":
            return _dynamic(prepared, kept, facts, path)
        return _static(source, prepared, kept, facts, target, path)


def _kept(model: onnx.ModelProto, prepared: onnx.ModelProto, exclude: tuple[str, ...]) -> list[str]:
    """Names, in the prepared graph, of the operators of the modules that keep FP32."""
    names = []
    for node in nodes_of(model, exclude):
        found = [n.name for n in prepared.graph.node if n.op_type == node.op_type and stems_from(n.name, node.name)]
        found = found or [n.name for n in prepared.graph.node if set(n.output) & set(node.output)]
        if not found:
            raise TrialError(f"ONNX Runtime merged the excluded layer {node.name} with another")
        names += found
    return names


def _dynamic(prepared: str, kept: list[str], facts: GraphFacts, path: Path) -> tuple[str, ...]:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(prepared, path, per_channel=True, weight_type=QuantType.QUInt8, nodes_to_exclude=kept)
    notes = ["activation ranges taken anew from each input"]
    if facts.lstms:
        integer = sum(n.op_type == "DynamicQuantizeLSTM" for n in onnx.load(path).graph.node)
        notes.append(f"{integer} of {facts.lstms} LSTM with 8-bit weights and products")
    if facts.grus:
        notes.append(f"{facts.grus} GRU or RNN stay in FP32: ONNX Runtime has no integer form of them")
    return tuple(notes)


def _static(
    source: BuildSource, prepared: str, kept: list[str], facts: GraphFacts, target: Target, path: Path
) -> tuple[str, ...]:
    import onnx

    # Without VNNI, U8S8 products saturate in 16 bits; 7-bit weights avoid it.
    vnni = "vnni" in this_machine().features
    notes = [] if vnni else ["weights kept to 7 bits: this CPU has no VNNI and would saturate"]
    graph = onnx.load(prepared, load_external_data=False)
    preparing = before_layers(graph)
    cases = source.calibration
    if target.ranges in ("entropy", "percentile") and len(cases) > _HISTOGRAM_CASES:
        cases = cases[np.linspace(0, len(cases) - 1, _HISTOGRAM_CASES).astype(int)]
        notes.append(f"ranges from {_HISTOGRAM_CASES} of {len(source.calibration)} calibration cases")
    if facts.transformer:
        notes.append("attention: products alone are quantized")
    notes += _calibrated(
        prepared,
        path,
        _Calibration(cases, str(graph.graph.input[0].name)),
        target.ranges,
        reduce_range=not vnni,
        op_types_to_quantize=_PRODUCTS if facts.transformer else None,
        nodes_to_exclude=[*kept, *preparing],
        keep_activations=bool(kept),
    )
    if _free_entries(path, set(kept)):
        notes.append("layers that feed an excluded one give floats, and so run in FP32 too where they are convolutions")
    if _free_answer(path):
        notes.append("the answer itself is not rounded")
    return tuple(notes)


def _calibrated(
    prepared: str, path: Path, reader: _Calibration, ranges: str, keep_activations: bool, **settings: Any
) -> tuple[str, ...]:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    notes: tuple[str, ...] = ()
    cache = Path(prepared).with_name("ranges.json") if ranges == "entropy" else None
    options: dict[str, dict[str, Any]] = {
        "mean": {"CalibMovingAverage": True},
        "percentile": {"CalibPercentile": _PERCENTILE},
    }
    try:
        if cache is not None:
            notes = save_ranges(prepared, reader, settings["op_types_to_quantize"], cache)
        quantize_static(
            prepared,
            path,
            reader if cache is None else None,
            calibration_cache_path=cache,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile if ranges == "percentile" else CalibrationMethod.MinMax,
            # Rounding to unsigned values stands in for a Relu that is taken out; floats need the Relu itself.
            extra_options={**options.get(ranges, {}), "QDQKeepRemovableActivations": keep_activations},
            **settings,
        )
    except (ValueError, IndexError, MemoryError) as error:
        if ranges not in ("entropy", "percentile"):
            raise
        # Numpy refuses histograms of some ranges ("Too many bins for data range").
        raise TrialError(f"ranges={ranges!r} fails on this network ({error}): choose ranges='minmax'") from error
    return notes


class _Calibration:
    """ONNX Runtime's CalibrationDataReader over an array, one case at a time."""

    def __init__(self, cases: NDArray[np.float32], name: str) -> None:
        self._rows = iter(range(len(cases)))
        self._cases, self._name = cases, name

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next case, or None."""
        row = next(self._rows, None)
        return None if row is None else {self._name: np.ascontiguousarray(self._cases[row : row + 1])}

    def __iter__(self) -> _Calibration:
        return self

    def __next__(self) -> dict[str, NDArray[np.float32]]:
        item = self.get_next()
        if item is None:
            raise StopIteration
        return item


def _free_entries(path: Path, kept: set[str]) -> bool:
    """Hand the layers that keep FP32 what enters them as it was before it was rounded; whether anything changed."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    passed = set()
    waiting = [node for node in graph.node if node.name in kept]
    while waiting:
        node = waiting.pop()
        for slot, name in enumerate(node.input):
            back = makers.get(name)
            if back is not None and back.op_type in _ORDERLY:
                waiting.append(back)
            rounding = makers.get(back.input[0]) if back is not None and back.op_type == "DequantizeLinear" else None
            if back is not None and rounding is not None and rounding.op_type == "QuantizeLinear":
                node.input[slot] = rounding.input[0]
                passed |= {back.name, rounding.name}
                waiting += [m for m in [makers.get(rounding.input[0])] if m is not None and m.op_type in _ORDERLY]
    for last in ("DequantizeLinear", "QuantizeLinear"):
        used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        for node in [n for n in graph.node if n.op_type == last and n.name in passed and n.output[0] not in used]:
            graph.node.remove(node)
            forget_constants(graph, set(node.input[1:]))
    onnx.save(model, path)
    return bool(passed)


def _free_answer(path: Path) -> bool:
    """Drop the rounding of a graph's output behind a matrix product, which can give floats at no cost."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    back = makers.get(graph.output[0].name)
    rounding = makers.get(back.input[0]) if back is not None and back.op_type == "DequantizeLinear" else None
    maker = makers.get(rounding.input[0]) if rounding is not None and rounding.op_type == "QuantizeLinear" else None
    if back is None or rounding is None or maker is None or maker.op_type not in ("Gemm", "MatMul"):
        return False
    answer = str(maker.output[0])
    if sum(answer in node.input for node in graph.node) > 1:
        return False
    maker.output[0] = graph.output[0].name
    graph.node.remove(back)
    graph.node.remove(rounding)
    forget_constants(graph, {*back.input[1:], *rounding.input[1:]})
    onnx.save(model, path)
    return True
