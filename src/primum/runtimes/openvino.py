"""OpenVINO on the CPU: FP32, BF16 (asked for and read back, never by default), INT8 and 8- or 4-bit weights by NNCF."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from primum.artifact.predictor import ONE_BY_ONE, Proven, Session
from primum.errors import TrialError
from primum.hardware.machine import installed, this_machine
from primum.runtimes.base import WEIGHTS_ONLY, BuildSource, Target, cores
from primum.runtimes.ov_quantize import converted, quantized_model

if TYPE_CHECKING:
    import torch

FILE = "model.xml"
_DYNAMIC_GROUP = 32
"""Values that enter a product with compressed weights and share one 8-bit scale: twice as fast as leaving them float.
Fixed, for OpenVINO would choose by CPU."""
_ROUNDS_INPUTS = ("int8-weights", "int4-weights")
"""Their 8-bit scales come from sums whose last bits depend on the number of rows, which tips a rounding."""
_STORED = {"int8-weights": {"i8", "u8"}, "int4-weights": {"i4", "u4"}, "nf4-weights": {"nf4"}}
_HEAVY = ("Convolution", "GroupConvolution", "FullyConnected", "MatMul", "Deconvolution")


def no_telemetry() -> None:
    """Keep openvino-telemetry from loading: OpenVINO and NNCF then use their built-in silent stand-ins."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    sys.modules["openvino_telemetry.backend"] = None  # type: ignore[assignment]


class OpenVinoSession:
    """A compiled graph; each thread has an infer request of its own."""

    def __init__(self, compiled: Any, proven: Proven, target: Target) -> None:
        self._compiled, self.proven = compiled, proven
        self.batch_invariant = not (target.fixed_batch or target.precision in _ROUNDS_INPUTS)
        self._local = threading.local()

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (N, *input_shape) to float32 (N, outputs); N is 1 for a fixed batch."""
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
    precisions = ("fp32", "bf16", "int8", *WEIGHTS_ONLY)
    needs_onnx = True
    keeps_weights_only = False

    def missing(self) -> str | None:
        """OpenVINO and NNCF come with primum[cpu]."""
        return None if importlib.util.find_spec("openvino") else "pip install 'primum[cpu]'"

    def version(self) -> str:
        """Version of OpenVINO."""
        return installed("openvino") or ""

    def build(self, source: BuildSource, target: Target, out: Path) -> tuple[str, ...]:
        """Write model.xml and model.bin; what has fewer than 16 bits is made by NNCF."""
        no_telemetry()
        import openvino as ov

        if source.onnx is None:
            raise TrialError("there is no ONNX export to build from")
        if target.precision in ("fp32", "bf16"):
            model, notes = converted(source.onnx, source), tuple[str, ...]()
        else:
            model, notes = quantized_model(source, target)
        if target.fixed_batch:
            model.reshape([1, *source.signature.input_shape])
        ov.save_model(model, str(out / FILE), compress_to_fp16=False)
        return notes

    def open(self, folder: Path, target: Target, factory: Callable[[], torch.nn.Module] | None) -> Session:
        """Compile for the CPU; fails rather than run at another precision than was asked."""
        no_telemetry()
        import openvino as ov

        if "bf16" in (target.precision, target.floats) and "bf16" not in this_machine().features:
            raise TrialError("this CPU has no BF16 arithmetic")
        threads = target.threads or cores()
        compiled = ov.Core().compile_model(str(folder / FILE), "CPU", compile_settings(target))
        proven, note = _read_back(compiled, target)
        notes = (note, ONE_BY_ONE) if target.precision in _ROUNDS_INPUTS else (note,)
        return OpenVinoSession(compiled, Proven(proven, "CPU", threads, notes), target)


def compile_settings(target: Target) -> dict[str, Any]:
    """What OpenVINO is told when it compiles for `target`."""
    return {
        "INFERENCE_PRECISION_HINT": "bf16" if "bf16" in (target.precision, target.floats) else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": target.threads or cores(),
        "NUM_STREAMS": 1,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": _DYNAMIC_GROUP if target.precision in WEIGHTS_ONLY else 0,
    }


def _read_back(compiled: Any, target: Target) -> tuple[str, str]:
    """Precision of the heavy layers from the graph that really runs; TrialError where it is not what was asked."""
    kinds: Counter[str] = Counter()
    for op in compiled.get_runtime_model().get_ops():
        info = op.get_rt_info()
        if "layerType" in info and info["layerType"].astype(str) in _HEAVY:
            kinds[info["runtimePrecision"].astype(str)] += 1
    total = sum(kinds.values())
    if target.precision in WEIGHTS_ONLY:
        return target.precision, _stored(kinds, target.precision)
    listed = ", ".join(f"{n} of {total} in {k}" for k, n in kinds.most_common())
    wanted = {"fp32": {"f32"}, "bf16": {"bf16"}, "int8": {"u8", "i8"}}[target.precision]
    right = sum(n for k, n in kinds.items() if k.lower() in wanted)
    if target.precision == "fp32" and right != total:
        raise TrialError(f"asked for FP32, OpenVINO runs {listed}")
    if total and not right:
        raise TrialError(f"asked for {target.precision}, OpenVINO runs {listed}")
    return target.precision, f"convolutions and matrix products: {listed}" if total else "no heavy layers"


def _stored(kinds: Counter[str], precision: str) -> str:
    """How many products read compressed weights; TrialError where none does."""
    done = sum(n for kind, n in kinds.items() if kind.lower() in _STORED[precision])
    if not done:
        raise TrialError(f"asked for {precision}, OpenVINO runs no product with such weights")
    entering = "what enters them is used as it is"
    if precision in _ROUNDS_INPUTS:
        entering = f"what enters them is rounded to 8 bits in groups of {_DYNAMIC_GROUP} where the CPU can"
    return f"{done} of {sum(kinds.values())} convolutions and matrix products read compressed weights; {entering}"


ADAPTER = OpenVino()
