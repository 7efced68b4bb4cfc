"""Operating points: a threshold frozen on the original's scores, and the rates of both models at it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from primum.config import OperatingPoint
from primum.errors import InputError
from primum.validation.arrays import Bools, Floats, Ints, as_labels, as_scores
from primum.validation.intervals import Interval
from primum.validation.shares import share_interval
from primum.validation.views import View

_ROUNDING = 1e-9
"""So that 0.9 of 10 cases asks for 9 of them, not 10."""


@dataclass(frozen=True, slots=True)
class Rates:
    """One model at one threshold; None where there is no case of that class. Wilson's intervals, by patient."""

    threshold: float
    """NaN for MULTICLASS and ORDINAL: the largest score decides."""
    sensitivity: Interval | None
    specificity: Interval | None


@dataclass(frozen=True, slots=True)
class FrozenThreshold:
    """A threshold chosen on the original's scores alone; the candidate's never enter."""

    threshold: float
    """Strictly between 0 and 1, and halfway between two scores, so that rounding turns no decision over."""
    held: str
    """"specificity" or "sensitivity"."""
    asked: float
    achieved: Rates
    """Of the original, on the cases that chose the threshold: optimistic by that choice."""
    n: int
    n_patients: int
    n_positive: int
    n_negative: int
    cases: str
    """Which cases chose it."""


@dataclass(frozen=True, slots=True)
class OperatingPair:
    """Both models on one binary question at the original's threshold, which decides."""

    name: str
    reference: Rates
    candidate: Rates
    held: str = ""
    """The rate that the policy holds; "" where the threshold was given."""
    asked: float | None = None
    candidate_own: Rates | None = None
    """Descriptive: the candidate at its own threshold for the same held rate on these cases. Using it would be
    another, declared change of the device."""
    note: str = ""


def freeze_threshold(
    labels: ArrayLike,
    reference_scores: ArrayLike,
    point: OperatingPoint,
    units: ArrayLike | None = None,
    confidence: float = 0.95,
    cases: str = "the cases given",
) -> FrozenThreshold:
    """The threshold at which the original holds `point`: the lowest for a specificity, the highest for a sensitivity.

    `labels` 0 or 1 and scores P(positive), both (N,); `units` (N,) patients, default each case. InputError where the
    class that the rate rests on is absent, scores are not finite or outside [0, 1], or no threshold strictly between
    0 and 1 holds the rate.
    """
    truth = as_labels(labels)
    scores = as_scores(reference_scores, truth.size, "reference scores")
    if scores.min() < 0 or scores.max() > 1:
        raise InputError("reference scores must be probabilities in [0, 1] to freeze a threshold on them")
    of = np.arange(truth.size) if units is None else np.asarray(units)
    held = "specificity" if point.specificity is not None else "sensitivity"
    asked = float(point.specificity if point.specificity is not None else point.sensitivity or 0.0)
    threshold = threshold_for(truth, scores, held, asked)
    return FrozenThreshold(
        threshold=threshold,
        held=held,
        asked=asked,
        achieved=rates(truth, (scores >= threshold).astype(np.int64), of, threshold, confidence),
        n=truth.size,
        n_patients=int(np.unique(of).size),
        n_positive=int(truth.sum()),
        n_negative=int(truth.size - truth.sum()),
        cases=cases,
    )


def threshold_for(labels: Ints, scores: Floats, held: str, asked: float) -> float:
    """The threshold strictly between 0 and 1 at which these scores hold the rate; InputError as `freeze_threshold`."""
    own = np.sort(scores[labels == (0 if held == "specificity" else 1)])
    noun = "negatives" if held == "specificity" else "positives"
    if not own.size:
        raise InputError(f"a {held} of {asked:g} cannot be held: there are no {noun}")
    wanted = min(own.size, max(1, ceil(asked * own.size - _ROUNDING)))
    distinct = np.unique(np.concatenate([scores, [0.0, 1.0]]))
    if held == "specificity":
        below = float(own[wanted - 1])
        above = float(next((v for v in distinct if v > below), below))
    else:
        above = float(own[own.size - wanted])
        below = float(next((v for v in distinct[::-1] if v < above), above))
    # A score equal to the threshold is positive, so it may be the upper neighbour but not the lower one.
    middle = below + (above - below) / 2
    threshold = middle if middle > below else above
    if not (below < threshold <= above and 0 < threshold < 1):
        tied = int((own == (below if held == "specificity" else above)).sum())
        raise InputError(
            f"no threshold between 0 and 1 holds a {held} of {asked:g}: {tied} of {own.size} {noun} have the score "
            f"{below if held == 'specificity' else above:g}"
        )
    return threshold


def rates(labels: Ints, calls: Ints, units: NDArray[Any], threshold: float, confidence: float = 0.95) -> Rates:
    """Sensitivity and specificity of calls (n,) 0 or 1, -1 (no answer) being wrong; `units` (n,) the patients."""

    def share(value: int) -> Interval | None:
        member: Bools = labels == value
        return share_interval(calls[member] == value, units[member], confidence) if member.any() else None

    return Rates(threshold, share(1), share(0))


def compare_operating(
    view: View, units: NDArray[Any], threshold: float, point: OperatingPoint | None, confidence: float = 0.95
) -> OperatingPair:
    """Both models at the view's calls; with `point` also the candidate at its own threshold for the same rate.

    `units` (n,) are the patients of the view's cases; `threshold` NaN where the largest score decides.
    """
    reference = rates(view.labels, view.reference_calls, units, threshold, confidence)
    candidate = rates(view.labels, view.candidate_calls, units, threshold, confidence)
    if point is None:
        return OperatingPair(view.name, reference, candidate)
    held = "specificity" if point.specificity is not None else "sensitivity"
    asked = float(point.specificity if point.specificity is not None else point.sensitivity or 0.0)
    own, note = None, ""
    finite = np.isfinite(view.candidate)
    try:
        found = threshold_for(view.labels[finite], view.candidate[finite], held, asked)
    except InputError as error:
        note = f"the candidate at a threshold of its own: {error}"
    else:
        calls = np.where(finite, np.where(finite, view.candidate, 0.0) >= found, -1).astype(np.int64)
        own = rates(view.labels, calls, units, found, confidence)
    return OperatingPair(view.name, reference, candidate, held, asked, own, note)
