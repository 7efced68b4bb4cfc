"""One candidate, built in a process of its own: techniques, export, the runtime's files, a manifest."""

from __future__ import annotations

import copy
import functools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from primum.artifact.manifest import Manifest, write_manifest
from primum.data.preprocessing_any import AnyPreprocessing
from primum.files import folder
from primum.models.reference import ModelReference, find_factory
from primum.models.signature import Signature
from primum.models.torch_module import build as build_module
from primum.runtimes.base import BuildSource, get_runtime
from primum.runtimes.export import export_onnx
from primum.runtimes.load import MODEL
from primum.study.recipe import Recipe
from primum.techniques.registry import Context, apply_all
from primum.version import VERSION

if TYPE_CHECKING:
    import torch


CHECKED = 16
"""Cases on which the export of a changed network is compared with the changed network itself."""


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
    def factory(self) -> Callable[[], torch.nn.Module] | None:
        """Builds the network anew; None for an .onnx model."""
        if self.reference.module is not None:
            return functools.partial(copy.deepcopy, self.reference.module)
        return functools.partial(_call_factory, self.reference.factory) if self.reference.factory else None


def _call_factory(name: str) -> torch.nn.Module:
    return find_factory(name)()


def export_original(reference: ModelReference, input_shape: tuple[int, ...], path: Path) -> tuple[str, ...]:
    """Export a torch model, as it stands, to ONNX; returns notes. Raises TrialError where no exporter can."""
    return export_onnx(build_module(reference).module, input_shape, path)


@dataclass(frozen=True)
class Built:
    """What building gave."""

    seconds: float
    notes: tuple[str, ...]
    expected: NDArray[np.float32] | None
    """Raw outputs of the changed torch module on the first calibration cases; None where no technique changed it."""


def build_candidate(
    original: Original, recipe: Recipe, inputs: Path, calibration: NDArray[np.int64], seed: int, out: Path
) -> Built:
    """Build `recipe` into the folder `out`, which appears whole or not at all.

    `calibration` are rows of the preprocessed `inputs` (.npy). Raises TrialError (or what a library raises).
    """
    began = time.monotonic()
    runtime = get_runtime(recipe.target.runtime)
    with folder(out) as place, tempfile.TemporaryDirectory(prefix="primum-") as scratch:
        (place / MODEL).mkdir()
        source, notes = _source(original, recipe, inputs, calibration, seed, Path(scratch), runtime.needs_onnx)
        notes += runtime.build(source, recipe.target, place / MODEL)
        write_manifest(
            place,
            Manifest(
                primum_version=VERSION,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                signature=original.signature,
                threshold=original.threshold,
                thresholds=original.thresholds,
                target=recipe.target.model_dump(mode="json"),
                runtime_version=runtime.version(),
                precision_proven="not yet run",
                provider="not yet run",
                recipe=str(recipe),
                parent_hash=original.digest,
                preprocessing=original.preprocessing,
                factory=original.reference.factory if runtime.keeps_weights_only else None,
                notes=notes,
            ),
        )
        expected = _outputs(source, inputs, calibration) if recipe.techniques else None
    return Built(time.monotonic() - began, notes, expected)


def _outputs(source: BuildSource, inputs: Path, calibration: NDArray[np.int64]) -> NDArray[np.float32]:
    import torch

    assert source.module is not None
    with torch.inference_mode():
        out = source.module(torch.from_numpy(np.load(inputs, mmap_mode="r")[calibration[:CHECKED]].copy()))
    return np.asarray(out.float().numpy()).reshape(len(out), -1)


def _source(
    original: Original,
    recipe: Recipe,
    inputs: Path,
    calibration: NDArray[np.int64],
    seed: int,
    scratch: Path,
    needs_onnx: bool,
) -> tuple[BuildSource, tuple[str, ...]]:
    cases = np.asarray(np.load(inputs, mmap_mode="r")[calibration])
    if needs_onnx and not recipe.techniques and original.onnx is not None:
        return BuildSource(original.signature, None, original.onnx, cases), original.onnx_notes
    module, notes = None, tuple[str, ...]()
    if original.reference.onnx is None:
        module = apply_all(build_module(original.reference).module, recipe.techniques, Context(seed))
    onnx = original.onnx
    if module is not None and needs_onnx:
        onnx = scratch / "export.onnx"
        notes = export_onnx(module, original.signature.input_shape, onnx)
    return BuildSource(original.signature, module, onnx, cases), notes
