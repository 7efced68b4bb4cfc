"""From an artifact folder to a predictor."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primum.artifact.guard import GuardedPredictor, GuardedSession, guarded
from primum.artifact.manifest import UNPROVEN, Manifest, read_manifest
from primum.artifact.predictor import Predictor, Session
from primum.errors import InputError, IntegrityError, UnprovenWarning
from primum.runtimes.base import Target, get_runtime

if TYPE_CHECKING:
    import torch

MODEL, REFERENCE = "model", "reference"


def load(path: str | Path, factory: Callable[[], torch.nn.Module] | None = None) -> Predictor:
    """Verify every file's SHA-256, then load. No code from the artifact runs.

    `factory` builds the network anew, for torch and torch.compile artifacts, which hold weights only.
    Warns with UnprovenWarning of an artifact that was delivered with --accept-inconclusive. Raises InputError where
    `path` is no artifact, IntegrityError where it was changed.
    """
    predictor = open_predictor(Path(path), factory)
    if predictor.unproven:
        warnings.warn(f"{path}: {UNPROVEN} (verdict {predictor.manifest.verdict})", UnprovenWarning, stacklevel=2)
    return predictor


def open_predictor(folder: Path, factory: Callable[[], torch.nn.Module] | None = None) -> Predictor:
    """As `load`, for callers that say by themselves where an artifact is unproven."""
    manifest = read_manifest(folder)
    session = open_session(folder, manifest, factory)
    return GuardedPredictor(manifest, session) if isinstance(session, GuardedSession) else Predictor(manifest, session)


def open_session(folder: Path, manifest: Manifest, factory: Callable[[], torch.nn.Module] | None = None) -> Session:
    """The session of an artifact whose manifest is already read and checked; of a guarded one, both models."""
    fast = open_network(folder, manifest, False, factory)
    return fast if manifest.guard is None else guarded(manifest, fast, open_network(folder, manifest, True, factory))


def open_network(
    folder: Path, manifest: Manifest, reference: bool = False, factory: Callable[[], torch.nn.Module] | None = None
) -> Session:
    """One network of an artifact whose manifest is already read and checked.

    `reference`: the original of a guarded one, in place of its fast network; IntegrityError where it has none.
    """
    if not reference:
        return _open(folder / MODEL, manifest.target, factory)
    if manifest.guard is None:
        raise IntegrityError(f"{folder}: the artifact is not guarded: it holds no reference")
    return _open(folder / REFERENCE, manifest.guard.reference, factory)


def _open(folder: Path, data: dict[str, Any], factory: Callable[[], torch.nn.Module] | None) -> Session:
    target = Target.model_validate(data)
    runtime = get_runtime(target.runtime)
    if target.runtime != "onnxruntime" and (why := runtime.missing()):
        raise InputError(f"this artifact runs on {target.runtime}, which is not installed here: {why}")
    return runtime.open(folder, target, factory)
