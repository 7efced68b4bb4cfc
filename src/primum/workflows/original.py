"""The original model as an artifact beside another: same signature, same preprocessing, run alike."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from primum.artifact.manifest import Manifest
from primum.errors import InputError
from primum.models.digest import digest
from primum.models.onnx_file import check_onnx
from primum.models.reference import ModelReference
from primum.runtimes.isolated import Isolated
from primum.study.build import build_candidate
from primum.study.original import Original
from primum.study.planner import baseline_recipe
from primum.study.stages import Workshop


def original_beside(reference: ModelReference, manifest: Manifest, inputs: Path, out: Path) -> Original:
    """Build `reference` as it stands into the artifact folder `out`, to be fed what `manifest` describes.

    `inputs` is a preprocessed .npy file. Raises InputError where the model was not the artifact's parent.
    """
    if reference.onnx is not None:
        check_onnx(reference.onnx)
    found = digest(reference)
    if found != manifest.parent_hash:
        raise InputError(
            f"the artifact was made from another model (parent {manifest.parent_hash[:12]}, this is {found[:12]}); "
            "name the original model and checkpoint"
        )
    original = Original(
        reference,
        found,
        manifest.signature,
        manifest.preprocessing,
        manifest.threshold,
        reference.onnx,
        thresholds=manifest.thresholds,
    )
    recipe = baseline_recipe(reference.onnx is None, manifest.target.get("threads"))
    with tempfile.TemporaryDirectory(prefix="primum-") as scratch:
        build_candidate(original, recipe, Workshop(Path(scratch), inputs, np.arange(1)), out)
    return original


def open_isolated(artifact: Path, inputs: Path, original: Original | None = None) -> tuple[Isolated, dict[str, object]]:
    """A fresh process with the artifact loaded. `original` lends its factory where the artifact holds weights only."""
    process = Isolated()
    example = np.asarray(np.load(inputs, mmap_mode="r")[:1])
    needs = (artifact / "model" / "weights.safetensors").is_file()
    try:
        factory = original.factory if needs and original is not None else None
        return process, process.open(artifact, example, factory)
    except BaseException:
        process.close()
        raise
