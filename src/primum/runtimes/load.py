"""From an artifact folder to a predictor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from primum.artifact.manifest import Manifest, read_manifest
from primum.artifact.predictor import Predictor, Session
from primum.errors import InputError
from primum.runtimes.base import Target, get_runtime

if TYPE_CHECKING:
    import torch

MODEL = "model"


def load(path: str | Path, factory: Callable[[], torch.nn.Module] | None = None) -> Predictor:
    """Verify every file's SHA-256, then load. No code from the artifact runs.

    `factory` builds the network anew, for torch and torch.compile artifacts, which hold weights only.
    Raises InputError where `path` is no artifact, IntegrityError where it was changed.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    return Predictor(manifest, open_session(folder, manifest, factory))


def open_session(folder: Path, manifest: Manifest, factory: Callable[[], torch.nn.Module] | None = None) -> Session:
    """The session of an artifact whose manifest is already read and checked."""
    target = Target.model_validate(manifest.target)
    runtime = get_runtime(target.runtime)
    if target.runtime != "onnxruntime" and (why := runtime.missing()):
        raise InputError(f"this artifact runs on {target.runtime}, which is not installed here: {why}")
    return runtime.open(folder / MODEL, target, factory)
