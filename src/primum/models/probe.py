"""Outputs on inputs unlike the data: they tell small logits from probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError
from primum.models.signature import far_inputs

_WITHIN = (
    "the model takes whole numbers (indices): what its outputs are was told from others within the range of the data"
)
_ALONE = (
    "the model takes no inputs but such as the data hold: what its outputs are was told from outputs on the data "
    "alone; --activation says it for certain"
)


@dataclass(frozen=True, eq=False)
class Probe:
    """`outputs` None: the model takes nothing but the data."""

    outputs: NDArray[Any] | None
    notes: tuple[str, ...] = ()
    refused: str = ""
    """What the model said to inputs far outside the usual range, where it did not take them."""


def probe(run: Callable[[NDArray[np.float32]], NDArray[Any]], batch: NDArray[np.float32]) -> Probe:
    """Run the model on inputs far outside the range of `batch`, else on whole numbers within it.

    `run` raises InputError where the model does not take its inputs.
    """
    far = far_inputs(batch)
    try:
        return Probe(run(far))
    except InputError as error:
        refused = str(error)
    try:
        if whole_numbers(batch).any():
            return Probe(run(within(batch, far)), (_WITHIN,), refused)
    except InputError:
        pass
    return Probe(None, (_ALONE,), refused)


def whole_numbers(batch: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The places of an input at which every case of `batch` holds a whole number."""
    return np.asarray((batch == np.rint(batch)).all(axis=0))


def within(batch: NDArray[np.float32], inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """`inputs`, with whole numbers within the range of `batch` at the places where `batch` holds such."""
    places, low, high = whole_numbers(batch), batch.min(axis=0), batch.max(axis=0)
    share = np.random.default_rng(0).random(inputs.shape)
    drawn = np.minimum(low + np.floor(share * (high - low + 1)), high)
    return np.asarray(np.where(places, drawn, inputs), dtype=np.float32)
