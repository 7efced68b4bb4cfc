"""Who is in which part: a keyed hash of the patient, so that no seed and no new output folder reshuffles it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_KEY = b"primum split 1"
FRACTIONS = {"calibration": 0.1, "selection": 0.2, "guard": 0.3, "confirmation": 0.4}
"""Share of patients by part. Fixed: a choice of fractions would be a choice of confirmation cases.

calibration sets quantization ranges; selection is used freely; guard is kept closed for the conformal band of
guarded prediction; confirmation is locked and opened once for each frozen winner. Where the task has no decision to
guard there is no guard part, and its patients are confirmation patients.
"""


@dataclass(frozen=True)
class Split:
    """Rows (positions in the evaluation set) of each part."""

    calibration: NDArray[np.int64]
    selection: NDArray[np.int64]
    guard: NDArray[np.int64]
    confirmation: NDArray[np.int64]
    guarded: bool = True
    """False: there is no guard part."""

    def parts(self) -> dict[str, NDArray[np.int64]]:
        """Part name -> rows."""
        return {name: getattr(self, name) for name in fractions(self.guarded)}


def fractions(guarded: bool) -> dict[str, float]:
    """Share of patients by part, with a guard part or without."""
    if guarded:
        return dict(FRACTIONS)
    without = {name: share for name, share in FRACTIONS.items() if name != "guard"}
    return without | {"confirmation": FRACTIONS["guard"] + FRACTIONS["confirmation"]}


def position(unit: str) -> float:
    """A number in [0, 1) that depends on the patient alone (or, without patients, on the content alone)."""
    return int.from_bytes(hashlib.blake2b(unit.encode(), key=_KEY, digest_size=8).digest()) / 2.0**64


def split(units: NDArray[np.str_] | tuple[str, ...], guarded: bool = True) -> Split:
    """Assign each row by its unit. Rows of one unit always fall together. `guarded`: with a guard part."""
    place = np.array([position(str(u)) for u in units])
    shares = fractions(guarded)
    edges = np.cumsum(list(shares.values()))
    part = np.searchsorted(edges[:-1], place, side="right")
    rows = {name: np.flatnonzero(part == i).astype(np.int64) for i, name in enumerate(shares)}
    return Split(**({"guard": np.empty(0, np.int64)} | rows), guarded=guarded)
