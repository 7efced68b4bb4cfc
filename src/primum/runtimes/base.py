"""What every runtime adapter is, and the registry of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from primum.artifact.predictor import Session
from primum.errors import InputError
from primum.models.signature import Signature

if TYPE_CHECKING:
    import torch

PRECISIONS = ("fp32", "bf16", "fp16", "int8", "int8-dynamic")


class Target(BaseModel):
    """Where and how a model shall run. Prints as one word; part of a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    runtime: str
    precision: str = "fp32"
    channels_last: bool = False
    threads: int | None = None
    """None: all cores this process may use."""
    spinning: bool = False
    """Whether idle threads busy-wait: faster alone, far slower where cores are shared."""

    def __str__(self) -> str:
        """For example onnxruntime[int8, threads=2]."""
        extras = ["channels_last"] * self.channels_last + ["spinning"] * self.spinning
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
