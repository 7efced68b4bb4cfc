"""ONNX Runtime on the CPU: FP32, weights stored in FP16, INT8 dynamic and INT8 static (QDQ, per channel, U8S8)."""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from primum.artifact.predictor import Proven, Session
from primum.errors import TrialError
from primum.hardware.machine import this_machine
from primum.runtimes.base import BuildSource, Target, cores

if TYPE_CHECKING:
    import torch

FILE = "model.onnx"
_QUANTIZED_OPS = {
    "QLinearConv",
    "ConvInteger",
    "QLinearMatMul",
    "MatMulInteger",
    "QGemm",
    "DynamicQuantizeMatMul",
}
_FLOAT_OPS = {"Conv", "MatMul", "Gemm", "FusedConv", "FusedMatMul", "FusedGemm", "ConvTranspose"}
_FP16_FROM_ELEMENTS = 64


class OrtSession:
    """A loaded graph."""

    def __init__(self, session: ort.InferenceSession, target: Target, proven: Proven) -> None:
        self._session, self.proven = session, proven
        self._input, self._outputs = session.get_inputs()[0].name, [session.get_outputs()[0].name]
        self.batch_invariant = target.precision != "int8-dynamic"

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (N, *input_shape) to float32 (N, outputs)."""
        return self._session.run(self._outputs, {self._input: batch})[0].reshape(len(batch), -1)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Release the graph."""
        del self._session


class OnnxRuntime:
    """The adapter."""

    name = "onnxruntime"
    precisions = ("fp32", "fp16", "int8", "int8-dynamic")
    needs_onnx = True
    keeps_weights_only = False

    def missing(self) -> str | None:
        """Loading needs the core alone; building needs the onnx library."""
        return None if importlib.util.find_spec("onnx") else "pip install 'primum[optimize]'"

    def version(self) -> str:
        """Version of ONNX Runtime."""
        return str(ort.__version__)

    def build(self, source: BuildSource, target: Target, out: Path) -> tuple[str, ...]:
        """Write model.onnx at the target's precision, with what really became integer in the notes."""
        if source.onnx is None:
            raise TrialError("there is no ONNX export to build from")
        builders = {"fp32": _copy, "fp16": _half_storage, "int8": _static, "int8-dynamic": _dynamic}
        notes = builders[target.precision](source, out / FILE)
        return notes + ((_count_integer(out / FILE),) if target.precision.startswith("int8") else ())

    def open(self, folder: Path, target: Target, factory: Callable[[], torch.nn.Module] | None) -> Session:
        """Load model.onnx; fails rather than run on another provider."""
        threads = target.threads or cores()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if target.spinning else "0")
        session = ort.InferenceSession(str(folder / FILE), options, providers=["CPUExecutionProvider"])
        providers = session.get_providers()
        if providers != ["CPUExecutionProvider"]:
            raise TrialError(f"asked for CPUExecutionProvider, ONNX Runtime runs {providers}")
        precision = {"fp16": "fp32 (weights stored in fp16)"}.get(target.precision, target.precision)
        return OrtSession(session, target, Proven(precision, providers[0], threads))


def _copy(source: BuildSource, path: Path) -> tuple[str, ...]:
    import onnx

    onnx.save(onnx.load(source.onnx), path)
    return ()


def _half_storage(source: BuildSource, path: Path) -> tuple[str, ...]:
    """Store large weights in FP16 behind a Cast that is folded on loading: half the file, FP32 arithmetic."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(source.onnx)
    graph = model.graph
    casts = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _FP16_FROM_ELEMENTS:
            continue
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise TrialError(f"the weight {tensor.name} does not fit into FP16")
        half = numpy_helper.from_array(values.astype(np.float16), tensor.name + "_fp16")
        graph.initializer.remove(tensor)
        graph.initializer.append(half)
        casts.append(helper.make_node("Cast", [half.name], [tensor.name], to=onnx.TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(casts + nodes)
    onnx.save(model, path)
    return (f"{len(casts)} weights stored in fp16; arithmetic in fp32",)


def _dynamic(source: BuildSource, path: Path) -> tuple[str, ...]:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _prepared(source) as prepared:
        quantize_dynamic(prepared, path, per_channel=True, weight_type=QuantType.QUInt8)
    return ("activation ranges taken anew from each input",)


def _static(source: BuildSource, path: Path) -> tuple[str, ...]:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    # Without VNNI, U8S8 products saturate in 16 bits; 7-bit weights avoid it.
    vnni = "vnni" in this_machine().features
    with _prepared(source) as prepared:
        quantize_static(
            prepared,
            path,
            _Calibration(source.calibration, _input_name(prepared)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=not vnni,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    return () if vnni else ("weights kept to 7 bits: this CPU has no VNNI and would saturate",)


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


class _prepared:
    """The export after ONNX Runtime's own pre-processing (shapes inferred, graph folded), in a temporary folder."""

    def __init__(self, source: BuildSource) -> None:
        self._source = source
        self._folder = tempfile.TemporaryDirectory(prefix="primum-")

    def __enter__(self) -> str:
        from onnxruntime.quantization.shape_inference import quant_pre_process

        logging.getLogger().setLevel(logging.ERROR)
        path = str(Path(self._folder.name) / "prepared.onnx")
        quant_pre_process(str(self._source.onnx), path, skip_symbolic_shape=True)
        return path

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _input_name(path: str) -> str:
    import onnx

    return str(onnx.load(path, load_external_data=False).graph.input[0].name)


def _count_integer(path: Path) -> str:
    """Optimize the graph as loading does and count what became integer arithmetic: the proof of the precision."""
    import onnx

    with tempfile.TemporaryDirectory(prefix="primum-") as folder:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        kinds: Counter[str] = Counter(n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node)
    integer = sum(kinds[k] for k in _QUANTIZED_OPS)
    floating = sum(kinds[k] for k in _FLOAT_OPS)
    if not integer:
        raise TrialError("ONNX Runtime runs no layer of this graph in INT8")
    return f"{integer} of {integer + floating} convolutions and matrix products run in INT8"


ADAPTER = OnnxRuntime()
