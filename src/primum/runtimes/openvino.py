"""OpenVINO on the CPU: FP32, BF16 (asked for and read back, never by default) and INT8 by NNCF."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from primum.artifact.predictor import Proven, Session
from primum.errors import TrialError
from primum.hardware.machine import installed, this_machine
from primum.runtimes.base import BuildSource, Target, cores

if TYPE_CHECKING:
    import torch

FILE = "model.xml"
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
_HEAVY = ("Convolution", "GroupConvolution", "FullyConnected", "MatMul", "Deconvolution")


def no_telemetry() -> None:
    """Keep openvino-telemetry from loading: OpenVINO and NNCF then use their built-in silent stand-ins."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    sys.modules["openvino_telemetry.backend"] = None  # type: ignore[assignment]


class OpenVinoSession:
    """A compiled graph; each thread has an infer request of its own."""

    batch_invariant = True

    def __init__(self, compiled: Any, proven: Proven) -> None:
        self._compiled, self.proven = compiled, proven
        self._local = threading.local()

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (N, *input_shape) to float32 (N, outputs)."""
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        out = request.infer([batch], share_inputs=True, share_outputs=True)[0]
        return np.array(out, dtype=np.float32).reshape(len(batch), -1)

    def close(self) -> None:
        """Release the graph."""
        self._local = threading.local()
        del self._compiled


class OpenVino:
    """The adapter."""

    name = "openvino"
    precisions = ("fp32", "bf16", "int8")
    needs_onnx = True
    keeps_weights_only = False

    def missing(self) -> str | None:
        """OpenVINO and NNCF come with primum[cpu]."""
        return None if importlib.util.find_spec("openvino") else "pip install 'primum[cpu]'"

    def version(self) -> str:
        """Version of OpenVINO."""
        return installed("openvino") or ""

    def build(self, source: BuildSource, target: Target, out: Path) -> tuple[str, ...]:
        """Write model.xml and model.bin; INT8 is calibrated by NNCF."""
        no_telemetry()
        import openvino as ov

        if source.onnx is None:
            raise TrialError("there is no ONNX export to build from")
        free_batch = ov.PartialShape([-1, *source.signature.input_shape])
        model = ov.convert_model(str(source.onnx), input=free_batch)
        if target.precision == "int8":
            model = _quantize(model, source.calibration)
        ov.save_model(model, str(out / FILE), compress_to_fp16=False)
        return ()

    def open(self, folder: Path, target: Target, factory: Callable[[], torch.nn.Module] | None) -> Session:
        """Compile for the CPU; fails rather than run at another precision than was asked."""
        no_telemetry()
        import openvino as ov

        if target.precision == "bf16" and "bf16" not in this_machine().features:
            raise TrialError("this CPU has no BF16 arithmetic")
        threads = target.threads or cores()
        compiled = ov.Core().compile_model(
            str(folder / FILE),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _HINTS[target.precision],
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
            },
        )
        proven, note = _read_back(compiled, target)
        return OpenVinoSession(compiled, Proven(proven, "CPU", threads, (note,)))


def _quantize(model: Any, calibration: NDArray[np.float32]) -> Any:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import nncf
    except ImportError as error:
        raise TrialError("INT8 for OpenVINO needs NNCF: pip install 'primum[cpu]'") from error
    logging.getLogger("nncf").setLevel(logging.ERROR)
    cases = [np.ascontiguousarray(calibration[i : i + 1]) for i in range(len(calibration))]
    with contextlib.redirect_stdout(io.StringIO()):
        return nncf.quantize(
            model, nncf.Dataset(cases), preset=nncf.QuantizationPreset.MIXED, subset_size=max(len(cases), 1)
        )


def _read_back(compiled: Any, target: Target) -> tuple[str, str]:
    """Precision of the heavy layers from the graph that really runs; TrialError where it is not what was asked."""
    kinds: Counter[str] = Counter()
    for op in compiled.get_runtime_model().get_ops():
        info = op.get_rt_info()
        if "layerType" in info and info["layerType"].astype(str) in _HEAVY:
            kinds[info["runtimePrecision"].astype(str)] += 1
    total = sum(kinds.values())
    listed = ", ".join(f"{n} of {total} in {k}" for k, n in kinds.most_common())
    wanted = {"fp32": {"f32"}, "bf16": {"bf16"}, "int8": {"u8", "i8"}}[target.precision]
    right = sum(n for k, n in kinds.items() if k.lower() in wanted)
    if target.precision == "fp32" and right != total:
        raise TrialError(f"asked for FP32, OpenVINO runs {listed}")
    if total and not right:
        raise TrialError(f"asked for {target.precision}, OpenVINO runs {listed}")
    return target.precision, f"convolutions and matrix products: {listed}" if total else "no heavy layers"


ADAPTER = OpenVino()
