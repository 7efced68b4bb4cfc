"""ONNX Runtime on the CPU: FP32, weights stored in FP16, 8 or 4 bits, INT8 static (QDQ, per channel, U8S8), dynamic."""

from __future__ import annotations

import importlib.util
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from primum.artifact.predictor import ONE_BY_ONE, Proven, Session
from primum.errors import TrialError
from primum.hardware.machine import this_machine
from primum.runtimes.attention import fuse_attention
from primum.runtimes.base import WEIGHTS_ONLY, BuildSource, Target, cores
from primum.runtimes.ort_quantize import quantize_graph

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
    "MatMulIntegerToFloat",
    "DynamicQuantizeLSTM",
    "QAttention",
}
_FLOAT_OPS = {
    "Conv",
    "MatMul",
    "Gemm",
    "FusedConv",
    "FusedMatMul",
    "FusedGemm",
    "ConvTranspose",
    "LSTM",
    "GRU",
    "RNN",
    "Attention",
    "MultiHeadAttention",
}
_FP16_FROM_ELEMENTS = 64


class OrtSession:
    """A loaded graph."""

    def __init__(self, session: ort.InferenceSession, target: Target, proven: Proven) -> None:
        self._session, self.proven = session, proven
        self._input, self._outputs = session.get_inputs()[0].name, [session.get_outputs()[0].name]
        self.batch_invariant = _batch_invariant(target)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (N, *input_shape) to float32 (N, outputs)."""
        return self._session.run(self._outputs, {self._input: batch})[0].reshape(len(batch), -1)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Release the graph."""
        del self._session


class OnnxRuntime:
    """The adapter."""

    name = "onnxruntime"
    precisions = ("fp32", "fp16", "int8", "int8-dynamic", "int8-weights", "int4-weights")
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
        with tempfile.TemporaryDirectory(prefix="primum-") as folder:
            export, notes = source.onnx, tuple[str, ...]()
            if target.fused_attention:
                export, notes = fuse_attention(export, Path(folder) / "fused.onnx")
            if target.precision == "fp32":
                return notes + _copy(export, out / FILE)
            if target.precision == "fp16":
                return notes + _half_storage(export, out / FILE)
            notes += quantize_graph(source, export, target, out / FILE)
        return (*notes, _count_integer(out / FILE, target))

    def open(self, folder: Path, target: Target, factory: Callable[[], torch.nn.Module] | None) -> Session:
        """Load model.onnx; fails rather than run on another provider."""
        threads = target.threads or cores()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if target.spinning else "0")
        widened = target.precision == "int8-dynamic" and "vnni" not in this_machine().features
        if widened:
            # Products with the signed weights of an LSTM would saturate.
            options.add_session_config_entry("session.x64quantprecision", "1")
        session = ort.InferenceSession(str(folder / FILE), options, providers=["CPUExecutionProvider"])
        providers = session.get_providers()
        if providers != ["CPUExecutionProvider"]:
            raise TrialError(f"asked for CPUExecutionProvider, ONNX Runtime runs {providers}")
        precision = {"fp16": "fp32 (weights stored in fp16)"}.get(target.precision, target.precision)
        notes: tuple[str, ...] = () if _batch_invariant(target) else (ONE_BY_ONE,)
        if widened:
            notes += ("signed 8-bit weights are multiplied as unsigned: this CPU has no VNNI",)
        return OrtSession(session, target, Proven(precision, providers[0], threads, notes))


def _batch_invariant(target: Target) -> bool:
    """False where float products come before a rounding: their last bits depend on the number of rows, and tip it."""
    mixed = target.precision == "int8" and bool(target.exclude)
    return not mixed and target.precision not in ("int8-dynamic", *WEIGHTS_ONLY)


def _copy(export: Path, path: Path) -> tuple[str, ...]:
    import onnx

    onnx.save(onnx.load(export), path)
    return ()


def _half_storage(export: Path, path: Path) -> tuple[str, ...]:
    """Store large weights in FP16 behind a Cast that is folded on loading: half the file, FP32 arithmetic."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(export)
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


def optimized_kinds(path: Path) -> Counter[str]:
    """Operators of the graph after ONNX Runtime optimized it as loading does."""
    import onnx

    with tempfile.TemporaryDirectory(prefix="primum-") as folder:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return Counter(n.op_type for n in onnx.load(options.optimized_model_filepath).graph.node)


def _count_integer(path: Path, target: Target) -> str:
    """What the optimized graph computes in few bits: the proof of the precision. TrialError where it is nothing."""
    kinds = optimized_kinds(path)
    floating = sum(kinds[k] for k in _FLOAT_OPS)
    if target.precision in WEIGHTS_ONLY:
        if not kinds["MatMulNBits"]:
            raise TrialError("ONNX Runtime runs no product of this graph with compressed weights")
        return (
            f"{kinds['MatMulNBits']} products read compressed weights and round what enters them to 8 bits, block by "
            f"block; {floating} other convolutions, products and recurrences run in FP32"
        )
    integer = sum(kinds[k] for k in _QUANTIZED_OPS)
    if not integer:
        raise TrialError("ONNX Runtime runs no layer of this graph in INT8")
    recurrent = kinds["LSTM"] + kinds["GRU"] + kinds["RNN"] + kinds["DynamicQuantizeLSTM"]
    what = "convolutions, matrix products and recurrences" if recurrent else "convolutions and matrix products"
    return f"{integer} of {integer + floating} {what} run in INT8"


ADAPTER = OnnxRuntime()
