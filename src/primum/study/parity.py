"""Whether an export follows what it exports: raw outputs against raw outputs, at a tolerance of their precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from primum.study.recipe import Recipe
from primum.study.trial import Parity
from primum.techniques.registry import rounds_to

PARITY = {
    "fp32": 1e-3,
    "fp16": 2e-2,
    "bf16": 0.15,
    "int8": 0.6,
    "int8-dynamic": 0.6,
    "int8-weights": 0.15,
    "int4-weights": 0.6,
    "nf4-weights": 0.6,
}
"""Largest relative error of raw outputs, by precision: beyond it an export is broken, not merely approximate."""


def tolerance_of(recipe: Recipe) -> float:
    """That of the coarsest arithmetic in a recipe: its target's, or what a technique left in the network."""
    rounded = [name for name in map(rounds_to, recipe.techniques) if name is not None]
    return max(PARITY[name] for name in (recipe.target.precision, *rounded))


def compare(raw: NDArray[np.float32], reference: NDArray[np.float32], tolerance: float) -> Parity:
    """Raw outputs (n, outputs) against those that they should follow."""
    difference = np.asarray(raw, np.float64) - np.asarray(reference, np.float64)
    spread = np.linalg.norm(reference - reference.mean(axis=0)) or 1.0
    relative = float(np.linalg.norm(difference) / spread)
    return Parity(float(np.abs(difference).max()), relative, tolerance, bool(relative <= tolerance))


def broken(parity: Parity) -> str:
    """What is said of an export that does not follow."""
    return (
        f"its outputs do not follow the original's: relative error {parity.relative:.3g} "
        f"(at most {parity.tolerance:g} at this precision); the export is broken"
    )
