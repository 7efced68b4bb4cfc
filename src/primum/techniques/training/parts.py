"""Which training patients are held out for early stopping."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.data.split import position
from primum.techniques.context import TrainingData

_ENOUGH = 4
"""A stratum of at least so many patients gives one to the held-out part, however small its share."""


def hold_out(data: TrainingData, share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to fit and rows to validate, no patient in both.

    Stratified by the greatest class of a patient (multi-label: any finding present), in the order of a hash of the
    patient, so that every training of a recipe holds out the same ones, whatever its seed.
    """
    units, unit_of = np.unique(data.units, return_inverse=True)
    key = np.full(len(units), np.iinfo(np.int64).min)
    np.maximum.at(key, unit_of, _stratum(data.labels, len(data)))
    place = np.array([position(str(unit)) for unit in units])
    held = np.zeros(len(units), dtype=bool)
    for stratum in np.unique(key):
        members = np.flatnonzero(key == stratum)
        count = round(share * len(members))
        if share > 0 and len(members) >= _ENOUGH:
            count = max(count, 1)
        held[members[np.argsort(place[members], kind="stable")[:count]]] = True
    if held.all():
        held[:] = False
    return np.flatnonzero(~held[unit_of]), np.flatnonzero(held[unit_of])


def _stratum(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    labels = np.asarray(labels)
    if labels.dtype.kind in "iu" and labels.ndim == 1:
        return labels.astype(np.int64)
    if labels.dtype.kind in "iu" and labels.ndim == 2:
        return np.asarray((labels == 1).any(axis=1), dtype=np.int64)
    return np.zeros(count, np.int64)
