"""One candidate, built in a process of its own: techniques, export, the runtime's files, a manifest."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from primum.artifact.manifest import Manifest, write_manifest
from primum.errors import TrialError
from primum.files import folder
from primum.models.torch_module import build as build_module
from primum.runtimes.base import BuildSource, get_runtime
from primum.runtimes.load import MODEL
from primum.study.original import Original
from primum.study.recipe import Recipe
from primum.study.stages import Workshop, stage
from primum.version import VERSION


@dataclass(frozen=True)
class Built:
    """What building gave."""

    seconds: float
    """Of work on this candidate, the making of its stages included when they were made before."""
    notes: tuple[str, ...]
    expected: NDArray[np.float32] | None
    """Raw outputs of the changed torch module on the first calibration cases; None where no technique changed it."""


@dataclass(frozen=True)
class _Source:
    build: BuildSource
    notes: tuple[str, ...]
    expected: NDArray[np.float32] | None = None
    seconds: float = 0.0
    """Spent on its stages, now or before."""


def build_candidate(original: Original, recipe: Recipe, workshop: Workshop, out: Path) -> Built:
    """Build `recipe` into the folder `out`, which appears whole or not at all.

    Raises TrialError (or what a library raises).
    """
    runtime = get_runtime(recipe.target.runtime)
    source = _source(original, recipe, workshop, runtime.needs_onnx)
    began = time.monotonic()
    with folder(out) as place:
        (place / MODEL).mkdir()
        notes = source.notes + runtime.build(source.build, recipe.target, place / MODEL)
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
    return Built(time.monotonic() - began + source.seconds, notes, source.expected)


def _source(original: Original, recipe: Recipe, workshop: Workshop, needs_onnx: bool) -> _Source:
    cases = np.asarray(np.load(workshop.inputs, mmap_mode="r")[workshop.calibration])
    anew = recipe.target.fused_attention and original.reference.fixed is None
    if recipe.techniques or anew:
        made = stage(original, recipe, workshop, needs_onnx)
        # What no technique changed is held against the original itself, on all of the selection part.
        expected = made.expected if recipe.techniques else None
        return _Source(
            BuildSource(original.signature, made.module, made.onnx, cases), made.notes, expected, made.seconds
        )
    if needs_onnx and original.onnx is None:
        raise TrialError(
            f"there is no ONNX export of the original: {'; '.join(original.onnx_notes) or 'none was made'}"
        )
    if needs_onnx:
        return _Source(BuildSource(original.signature, None, original.onnx, cases), original.onnx_notes)
    began = time.monotonic()
    built = build_module(original.reference)
    return _Source(BuildSource(original.signature, built.module, None, cases), (), None, time.monotonic() - began)
