"""How long one call of a network takes on a target: exported, built and timed in a fresh process."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from primum.artifact.manifest import Manifest, write_manifest
from primum.benchmark.turn import timing_turn
from primum.data.preprocessing_array import ArrayPreprocessing
from primum.models.signature import Signature
from primum.runtimes.base import BuildSource, Target, get_runtime
from primum.runtimes.export import export_onnx
from primum.runtimes.isolated import Isolated
from primum.runtimes.load import MODEL
from primum.version import VERSION

if TYPE_CHECKING:
    import torch

_CALIBRATION = 8
"""Ranges do not change how long a call takes."""
_BLOCKS, _CALLS = 5, 12


def latency(module: torch.nn.Module, target: Target, signature: Signature, cases: NDArray[np.float32]) -> float:
    """Milliseconds of one call at batch 1: the 10th percentile over several blocks, what holds when nothing else runs.

    Only to compare forms of one network with each other: what is quoted is timed beside the original. Raises
    TrialError where the network cannot be exported, built or loaded.
    """
    runtime = get_runtime(target.runtime)
    few = np.ascontiguousarray(cases[:_CALIBRATION])
    with tempfile.TemporaryDirectory(prefix="primum-") as scratch:
        place = Path(scratch)
        (place / MODEL).mkdir()
        np.save(place / "inputs.npy", few)
        onnx = None
        if runtime.needs_onnx:
            onnx = place / "export.onnx"
            export_onnx(module, signature.input_shape, onnx)
        runtime.build(BuildSource(signature, module, onnx, few), target, place / MODEL)
        write_manifest(place, _manifest(signature, target))
        with Isolated(300.0) as process:
            process.open(place, few[:1])
            rows = np.resize(np.arange(len(few)), _CALLS)
            with timing_turn():
                taken = [process.time(place / "inputs.npy", rows) for _ in range(_BLOCKS)]
    return float(np.percentile(np.concatenate(taken), 10))


def _manifest(signature: Signature, target: Target) -> Manifest:
    return Manifest(
        primum_version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        signature=signature,
        threshold=0.5,
        target=target.model_dump(mode="json"),
        runtime_version=get_runtime(target.runtime).version(),
        precision_proven="not yet run",
        provider="not yet run",
        recipe=str(target),
        parent_hash="",
        preprocessing=ArrayPreprocessing(),
    )
