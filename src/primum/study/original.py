"""The model that is optimized, and how it is judged."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from primum.data.preprocessing_any import AnyPreprocessing
from primum.models.reference import ModelReference, find_factory
from primum.models.signature import Signature
from primum.models.torch_module import build as build_module
from primum.runtimes.export import export_onnx

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Original:
    """The model that is optimized, and how it is judged. `onnx` is its lossless export, where it could be made."""

    reference: ModelReference
    digest: str
    signature: Signature
    preprocessing: AnyPreprocessing
    threshold: float
    onnx: Path | None
    onnx_notes: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()
    """One a label where the task is multi-label; else none."""

    @property
    def scripted(self) -> bool:
        """Whether it came as TorchScript, which every torch runtime keeps whole."""
        return self.reference.torchscript is not None

    @property
    def factory(self) -> Callable[[], torch.nn.Module] | None:
        """Builds the network anew; None for an .onnx or TorchScript model."""
        if self.reference.module is not None:
            return functools.partial(copy.deepcopy, self.reference.module)
        return functools.partial(_call_factory, self.reference.factory) if self.reference.factory else None


def _call_factory(name: str) -> torch.nn.Module:
    return find_factory(name)()


def export_original(reference: ModelReference, input_shape: tuple[int, ...], path: Path) -> tuple[str, ...]:
    """Export a torch model, as it stands, to ONNX; returns notes. Raises TrialError where no exporter can."""
    return export_onnx(build_module(reference).module, input_shape, path)
