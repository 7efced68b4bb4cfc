"""Turning the chosen candidate into the sealed artifact: model, preprocessing, golden vectors, evidence, hashes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from primum.artifact.golden import write_golden
from primum.artifact.manifest import NAME, read_manifest, write_manifest
from primum.artifact.predictor import Predictor
from primum.files import folder, write_bytes
from primum.runtimes.load import open_session
from primum.study.trial import Trial

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


def seal(
    candidate: Path,
    trial: Trial,
    verdict: str,
    unproven: bool,
    machine: str,
    out: Path,
    evidence: Callable[[Path], None],
    factory: Callable[[], torch.nn.Module] | None = None,
    deferred: float | None = None,
    sample: NDArray[np.float32] | None = None,
) -> None:
    """Write the artifact `out` whole or not at all. `evidence` fills its evidence/ folder; `deferred` is the share of
    cases that a guarded artifact deferred where it was judged; `sample` are some inputs, whose range alone is used.

    Raises IntegrityError where the candidate's files are not as they were built, StorageError where `out` cannot be
    written.
    """
    manifest = read_manifest(candidate).model_copy(
        update={
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "precision_proven": trial.precision_proven,
            "provider": trial.provider,
            "verdict": verdict,
            "unproven": unproven,
            "machine": machine,
            "notes": trial.notes,
        }
    )
    if manifest.guard is not None and deferred is not None:
        manifest = manifest.model_copy(update={"guard": manifest.guard.model_copy(update={"deferred": deferred})})
    with folder(out) as place:
        for item in candidate.iterdir():
            if item.name != NAME:
                (shutil.copytree if item.is_dir() else shutil.copy2)(item, place / item.name)
        write_bytes(place / "preprocessing.json", manifest.preprocessing.model_dump_json(indent=1).encode())
        with Predictor(manifest, open_session(place, manifest, factory)) as predictor:
            write_golden(place, predictor, sample)
        (place / "evidence").mkdir()
        evidence(place / "evidence")
        write_manifest(place, manifest)
