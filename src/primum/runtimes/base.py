"""What every runtime adapter is, and the registry of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

from primum.artifact.predictor import Session
from primum.errors import InputError
from primum.models.signature import Signature

if TYPE_CHECKING:
    import torch

WEIGHTS_ONLY = ("int8-weights", "int4-weights", "nf4-weights")
"""Matrix products read stored weights of 8 or 4 bits; inputs and outputs stay float."""
PRECISIONS = ("fp32", "bf16", "fp16", "int8", "int8-dynamic", *WEIGHTS_ONLY)
RANGES = {
    "onnxruntime": ("minmax", "mean", "entropy", "percentile"),
    "openvino": ("minmax", "mean", "percentile", "histogram"),
}
"""How the range of an activation is taken from calibration cases, by runtime: its extremes over all cases; the mean of
the extremes of each case; the range of least Kullback-Leibler divergence; all but a ten-thousandth at either end; the
range of least quantization error of the histogram."""
MODES = ("default", "reduce-overhead", "max-autotune")
"""What torch.compile may spend on compiling."""
_LATER = {
    "ranges": "minmax",
    "bias_correction": False,
    "exclude": (),
    "fused_attention": False,
    "mode": "default",
    "floats": "fp32",
    "fixed_batch": False,
    "symmetric": False,
}
"""Settings of a Target that came after its first records were written."""


class Target(BaseModel):
    """Where and how a model shall run. Prints as one word; part of a recipe.

    Settings at their defaults are left out of its plain data, so that the key of a recipe outlives new settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    runtime: str
    precision: str = "fp32"
    channels_last: bool = False
    threads: int | None = None
    """None: all cores this process may use."""
    spinning: bool = False
    """Whether idle threads busy-wait: faster alone, far slower where cores are shared."""
    ranges: str = "minmax"
    """How static INT8 takes the range of an activation, of RANGES."""
    bias_correction: bool = False
    """OpenVINO: whether NNCF shifts biases by the mean error of each quantized layer."""
    exclude: tuple[str, ...] = ()
    """Modules of the network ("layer1.0.conv2", or "layer1" with all within) that keep FP32."""
    fused_attention: bool = False
    """ONNX Runtime: whether attention blocks become single operators before anything else."""
    mode: str = "default"
    """torch.compile: one of MODES."""
    floats: Literal["fp32", "bf16"] = "fp32"
    """OpenVINO INT8: the precision of what INT8 leaves in floats, such as the products of attention."""
    fixed_batch: bool = False
    """OpenVINO: a graph for one case a call, without a free batch axis; more cases run one after another."""
    symmetric: bool = False
    """OpenVINO INT8: ranges of activations lie around zero. Normalizations then give 8 bits by themselves; values of
    one sign lose a bit."""

    @model_validator(mode="after")
    def _fits(self) -> Target:
        """Settings that would be passed over in silence are refused."""
        static = self.precision == "int8"
        if self.ranges != "minmax" and self.ranges not in (RANGES.get(self.runtime, ()) if static else ()):
            known = ", ".join(RANGES.get(self.runtime, ())) or "none"
            raise ValueError(f"ranges={self.ranges!r}: static INT8 on {self.runtime} knows {known}")
        if self.bias_correction and not (static and self.runtime == "openvino"):
            raise ValueError("bias_correction belongs to openvino[int8]")
        if self.exclude and not (self.runtime in RANGES and self.precision.startswith(("int", "nf4"))):
            raise ValueError("exclude belongs to the INT8 and 4-bit precisions of onnxruntime and openvino")
        if self.fused_attention and self.runtime != "onnxruntime":
            raise ValueError("fused_attention belongs to onnxruntime; the other runtimes fuse attention by themselves")
        if self.floats != "fp32" and not (static and self.runtime == "openvino"):
            raise ValueError("floats belongs to openvino[int8]; elsewhere the precision says it")
        if self.symmetric and not (static and self.runtime == "openvino"):
            raise ValueError("symmetric belongs to openvino[int8]")
        if self.fixed_batch and self.runtime != "openvino":
            raise ValueError("fixed_batch belongs to openvino")
        if self.mode not in MODES or (self.mode != "default" and self.runtime != "inductor"):
            raise ValueError(f"mode={self.mode!r}: inductor knows {', '.join(MODES)}; other runtimes have no mode")
        return self

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        # Static INT8 used to be built otherwise: an older record is not mistaken for this one.
        kept = {"ranges"} if self.precision == "int8" else set()
        return {k: v for k, v in data.items() if k in kept or k not in _LATER or getattr(self, k) != _LATER[k]}

    def __str__(self) -> str:
        """For example onnxruntime[int8, threads=2]."""
        extras = ["channels_last"] * self.channels_last + ["spinning"] * self.spinning
        extras += [f"ranges={self.ranges}"] * (self.ranges != "minmax")
        extras += ["bias_correction"] * self.bias_correction + ["fused_attention"] * self.fused_attention
        extras += [f"floats={self.floats}"] * (self.floats != "fp32") + ["fixed_batch"] * self.fixed_batch
        extras += ["symmetric"] * self.symmetric
        extras += [f"mode={self.mode}"] * (self.mode != "default")
        extras += [f"without {'+'.join(self.exclude)}"] * bool(self.exclude)
        extras += [f"threads={self.threads}"] * (self.threads is not None)
        return f"{self.runtime}[{', '.join([self.precision, *extras])}]"


@dataclass(frozen=True)
class BuildSource:
    """What an adapter builds from."""

    signature: Signature
    module: torch.nn.Module | None
    """None for a model that came as .onnx."""
    onnx: Path | None
    """The lossless export, where the adapter `needs_onnx`."""
    calibration: NDArray[np.float32]
    """Preprocessed inputs (N, *input_shape) that set quantization ranges."""


class Runtime(Protocol):
    """One adapter."""

    name: str
    precisions: tuple[str, ...]
    needs_onnx: bool
    """Builds from the ONNX export (rather than from the torch module)."""
    keeps_weights_only: bool
    """The files hold weights alone: loading needs the user's own factory."""

    def missing(self) -> str | None:
        """Why this runtime cannot be used here (what to install), or None."""

    def version(self) -> str:
        """Version of the runtime library."""

    def build(self, source: BuildSource, target: Target, out: Path) -> tuple[str, ...]:
        """Write the runtime's files into `out`; returns notes."""

    def open(self, folder: Path, target: Target, factory: Callable[[], torch.nn.Module] | None) -> Session:
        """Load the files from `folder`."""


_MODULES = {
    "torch": "primum.runtimes.eager",
    "torchscript": "primum.runtimes.torchscript",
    "inductor": "primum.runtimes.inductor",
    "onnxruntime": "primum.runtimes.onnxruntime",
    "openvino": "primum.runtimes.openvino",
}
NAMES = tuple(_MODULES)


def get_runtime(name: str) -> Runtime:
    """The adapter called `name`; the runtime's library is imported only when it builds or opens.

    Raises InputError for an unknown name.
    """
    if name not in _MODULES:
        raise InputError(f"no runtime {name!r}; there are {', '.join(NAMES)}")
    adapter: Runtime = importlib.import_module(_MODULES[name]).ADAPTER
    return adapter


def cores() -> int:
    """CPU cores this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
