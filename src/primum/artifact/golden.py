"""golden.npz: synthetic inputs (never a patient's) with the outputs they gave, to replay on any machine."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from primum.artifact.predictor import Predictor
from primum.errors import IntegrityError

NAME = "golden.npz"
_COUNT = 8
TOLERANCE = {"fp32": 1e-4, "fp16": 5e-3, "bf16": 3e-2, "int8": 3e-2, "int8-dynamic": 3e-2}
"""Largest |Δp| allowed on replay, by precision asked. 8-bit and 16-bit arithmetic differs between CPUs."""
RAW_TOLERANCE = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 0.1, "int8": 0.3, "int8-dynamic": 0.3}
"""The same of raw outputs, relative to their largest: saturated probabilities hide what logits show."""


@dataclass(frozen=True)
class Replay:
    """Outcome of replaying the golden vectors: `max_difference` is the largest |Δp|, `raw_difference` the largest
    difference of raw outputs relative to the largest raw output. Both must be within their tolerance."""

    cases: int
    max_difference: float
    tolerance: float
    raw_difference: float
    raw_tolerance: float
    passed: bool


def write_golden(folder: Path, predictor: Predictor) -> None:
    """Record the predictor's own answers in `folder`/golden.npz."""
    inputs = predictor.manifest.preprocessing.synthetic(_COUNT, predictor.manifest.signature.input_shape)
    raw = predictor.raw(inputs)
    probabilities = predictor.manifest.signature.probabilities(raw)
    np.savez_compressed(folder / NAME, inputs=inputs, raw=raw, probabilities=probabilities)


def replay(folder: Path, predictor: Predictor) -> Replay:
    """Compare the predictor with the recorded answers. Raises IntegrityError where there is no golden.npz."""
    path = folder / NAME
    if not path.is_file():
        raise IntegrityError(f"{folder}: holds no {NAME}; it cannot be verified")
    precision = str(predictor.manifest.target.get("precision"))
    if precision not in TOLERANCE:
        raise IntegrityError(f"{folder}: this version of primum knows no tolerance for the precision {precision}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            inputs, expected, raw = arrays["inputs"], arrays["probabilities"], arrays["raw"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise IntegrityError(f"{path}: cannot be read ({error})") from error
    found = predictor.raw(inputs)
    difference = float(np.abs(predictor.manifest.signature.probabilities(found) - expected).max())
    relative = float(np.abs(found - raw).max() / max(float(np.abs(raw).max()), 1e-6))
    tolerance, raw_tolerance = TOLERANCE[precision], RAW_TOLERANCE[precision]
    passed = bool(difference <= tolerance and relative <= raw_tolerance)
    return Replay(len(inputs), difference, tolerance, relative, raw_tolerance, passed)
