"""What runs in the fresh processes of benchmarks/peers.py: building and timing each peer as its own manual has it.

Nothing of primum's adapters is used here; the timing loop is the one that also times primum's artifacts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from primum.runtimes.isolated import Isolated
from primum.runtimes.worker import Worker

Call = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class PeerProcess(Isolated):
    """A fresh process that holds a peer instead of an artifact; to be timed by `interleave` like any other."""

    def start(self, kind: str, file: Path, factory: str, example: NDArray[np.float32]) -> dict[str, Any]:
        """Load the peer and run it once: load_ms, first_ms and what it says that it computes in."""
        return dict(self.call("peer_sessions:start", kind=kind, file=file, factory=factory, example=example))

    def predict(self, inputs: Path, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Raw outputs."""
        return np.asarray(self.call("peer_sessions:predict", inputs=inputs, rows=rows))

    def time(self, inputs: Path, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Milliseconds a call."""
        return np.asarray(self.call("peer_sessions:timed", inputs=inputs, rows=rows))

    def preemptions(self) -> float:
        """Involuntary context switches per timed call so far."""
        return float(self.call("peer_sessions:preemptions"))


_WORKER = Worker()


def start(kind: str, file: Path, factory: str, example: NDArray[np.float32]) -> dict[str, Any]:
    """In the child: load, run once, keep."""
    began = time.perf_counter()
    call, runs_in = _LOADERS[kind](file, factory)
    loaded = time.perf_counter()
    call(example)
    first = time.perf_counter()
    _WORKER._predictor = cast(Any, SimpleNamespace(session=SimpleNamespace(run=call)))
    return {"load_ms": (loaded - began) * 1e3, "first_ms": (first - loaded) * 1e3, "runs_in": runs_in}


def predict(inputs: Path, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """In the child: as Worker.predict."""
    return _WORKER.predict(inputs, rows)


def timed(inputs: Path, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """In the child: as Worker.time."""
    return _WORKER.time(inputs, rows)


def preemptions() -> float:
    """In the child: as Worker.preemptions."""
    return _WORKER.preemptions()


def _module(file: Path, factory: str) -> Any:
    from primum.models.reference import ModelReference
    from primum.models.torch_module import build

    return build(ModelReference(factory=factory, checkpoint=file)).module


def _torch_call(module: Any) -> Call:
    import torch

    def call(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return cast(NDArray[np.float32], module(torch.from_numpy(batch)).numpy())

    return call


def _eager(file: Path, factory: str) -> tuple[Call, str]:
    return _torch_call(_module(file, factory)), "fp32"


def _compiled(file: Path, factory: str) -> tuple[Call, str]:
    import torch
    import torch._inductor.config

    torch._inductor.config.freezing = True
    return _torch_call(torch.compile(_module(file, factory))), "fp32"


def _onnxruntime(file: Path, _: str) -> tuple[Call, str]:
    import onnxruntime as ort

    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0], "as built"


def _openvino(file: Path, _: str) -> tuple[Call, str]:
    from primum.runtimes.openvino import no_telemetry

    no_telemetry()
    import openvino as ov

    compiled = ov.Core().compile_model(str(file), "CPU")
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return lambda batch: compiled(batch)[0], f"floats in {hint}"


_LOADERS: dict[str, Callable[[Path, str], tuple[Call, str]]] = {
    "eager": _eager,
    "compile": _compiled,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}


def export(weights: Path, factory: str, example: NDArray[np.float32], out: Path) -> None:
    """torch.onnx.export as it comes: one case, shapes fixed."""
    import onnx
    import torch

    program = torch.onnx.export(_module(weights, factory), (torch.from_numpy(example),), dynamo=True, verbose=False)
    model = program.model_proto
    # Shapes of inner values go stale in quantization, and then some quantizers fail.
    del model.graph.value_info[:]
    onnx.save(model, out)


def quantize_onnxruntime(source: Path, calibration: Path, out: Path) -> None:
    """Static INT8 as ONNX Runtime's guide has it for x86: pre-processed, QDQ, per channel, U8S8."""
    import tempfile

    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(out),
            cast(Any, _Reader(source, np.load(calibration))),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


class _Reader:
    """Calibration cases, one by one."""

    def __init__(self, source: Path, cases: NDArray[np.float32]) -> None:
        import onnx

        self._name = onnx.load(source, load_external_data=False).graph.input[0].name
        self._cases = iter(cases)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next, or None."""
        case = next(self._cases, None)
        return None if case is None else {self._name: case[None]}


def convert_openvino(source: Path, out: Path) -> None:
    """ov.convert_model as it comes."""
    from primum.runtimes.openvino import no_telemetry

    no_telemetry()
    import openvino as ov

    ov.save_model(ov.convert_model(str(source)), str(out))


def quantize_openvino(source: Path, calibration: Path, out: Path) -> None:
    """nncf.quantize as it comes."""
    from primum.runtimes.openvino import no_telemetry

    no_telemetry()
    import nncf
    import openvino as ov

    cases = [case[None] for case in np.load(calibration)]
    ov.save_model(nncf.quantize(ov.convert_model(str(source)), nncf.Dataset(cases)), str(out))
