"""golden.npz: synthetic inputs (never a patient's) with the outputs they gave, to replay on any machine."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from primum.artifact.guard import GuardedSession
from primum.artifact.predictor import Predictor, Session, run_rows
from primum.errors import IntegrityError
from primum.models.probe import within
from primum.task import Task

NAME = "golden.npz"
_COUNT = 8
_FEW_BITS = ("int8", "int8-dynamic", "int8-weights", "int4-weights", "nf4-weights")
TOLERANCE = {"fp32": 1e-4, "fp16": 5e-3, "bf16": 3e-2, **dict.fromkeys(_FEW_BITS, 3e-2)}
"""Largest |Δp| allowed on replay, by precision asked. 8-bit and 16-bit arithmetic differs between CPUs."""
RAW_TOLERANCE = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 0.1, **dict.fromkeys(_FEW_BITS, 0.3)}
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


def write_golden(folder: Path, predictor: Predictor, sample: NDArray[np.float32] | None = None) -> None:
    """Record the predictor's own answers in `folder`/golden.npz; of a guarded one those of both its models.

    `sample`: some inputs of the data. Where arrays hold whole numbers, which may be indices, only their range is used.
    """
    preprocessing = predictor.manifest.preprocessing
    inputs = preprocessing.synthetic(_COUNT, predictor.manifest.signature.input_shape)
    # Of images and tables the preprocessing knows what values they take.
    if sample is not None and preprocessing.kind == "array":
        inputs = within(sample, inputs)
    arrays: dict[str, NDArray[np.generic]] = {}
    for prefix, session, _ in _models(predictor):
        raw = run_rows(session, inputs)
        arrays |= {f"{prefix}raw": raw, f"{prefix}probabilities": predictor.manifest.signature.probabilities(raw)}
    arrays["settings"] = _settings(predictor)
    np.savez_compressed(folder / NAME, allow_pickle=False, inputs=inputs, **arrays)


def replay(folder: Path, predictor: Predictor) -> Replay:
    """Compare the predictor with the recorded answers; of a guarded one, each of its models with its own.

    Raises IntegrityError where there is no golden.npz, where it was recorded with another threshold or band than the
    manifest names, or where no tolerance is known for a precision.
    """
    path = folder / NAME
    if not path.is_file():
        raise IntegrityError(f"{folder}: holds no {NAME}; it cannot be verified")
    for _, _, precision in _models(predictor):
        if precision not in TOLERANCE:
            raise IntegrityError(f"{folder}: this version of primum knows no tolerance for the precision {precision}")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            inputs = arrays["inputs"]
            recorded = [(arrays[f"{p}probabilities"], arrays[f"{p}raw"]) for p, *_ in _models(predictor)]
            # Artifacts of an older release hold none.
            settings = arrays["settings"] if "settings" in arrays else _settings(predictor)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise IntegrityError(f"{path}: cannot be read ({error})") from error
    if not np.array_equal(settings, _settings(predictor), equal_nan=True):
        raise IntegrityError(
            f"{folder}: the manifest names another threshold or guard band than the artifact was sealed with; "
            "use an intact copy"
        )
    found = [
        _compare(predictor, run_rows(session, inputs), expected, raw, precision)
        for (_, session, precision), (expected, raw) in zip(_models(predictor), recorded)
    ]
    # The worst, measured by what it is allowed.
    return max(found, key=lambda r: max(r.max_difference / r.tolerance, r.raw_difference / r.raw_tolerance))


def _settings(predictor: Predictor) -> NDArray[np.float64]:
    """What turns answers into decisions: no file but the manifest holds it, and the manifest has no hash of its own."""
    manifest = predictor.manifest
    band = manifest.guard.band if manifest.guard is not None else np.nan
    return np.array([band, manifest.threshold, *manifest.thresholds], dtype=np.float64)


def _models(predictor: Predictor) -> list[tuple[str, Session, str]]:
    """Prefix of the recorded arrays, session and precision asked, of each model in the artifact."""
    manifest, session = predictor.manifest, predictor.session
    if not isinstance(session, GuardedSession) or manifest.guard is None:
        return [("", session, str(manifest.target.get("precision")))]
    # Each alone: which of them answers may turn on a last bit, and shows nothing of either.
    reference = str(manifest.guard.reference.get("precision"))
    return [("", session.fast, str(manifest.target.get("precision"))), ("reference_", session.reference, reference)]


def _compare(
    predictor: Predictor,
    found: NDArray[np.float32],
    expected: NDArray[np.float64],
    raw: NDArray[np.float32],
    precision: str,
) -> Replay:
    signature = predictor.manifest.signature
    # Values have units of their own: their difference is relative, as that of raw outputs.
    unit = max(float(np.abs(expected).max()), 1e-6) if signature.task is Task.REGRESSION else 1.0
    difference = float(np.abs(signature.probabilities(found) - expected).max()) / unit
    relative = float(np.abs(found - raw).max() / max(float(np.abs(raw).max()), 1e-6))
    tolerance, raw_tolerance = TOLERANCE[precision], RAW_TOLERANCE[precision]
    passed = bool(difference <= tolerance and relative <= raw_tolerance)
    return Replay(len(found), difference, tolerance, relative, raw_tolerance, passed)
