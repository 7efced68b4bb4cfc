"""The lead of a decision over its nearest rival: what a guard defers by, and what a changed decision had of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from primum.errors import InputError
from primum.task import Task
from primum.validation.arrays import Bools, Floats
from primum.validation.decisions import Rule

_TINY = float(np.finfo(np.float64).tiny)


def lead(rule: Rule, fast: ArrayLike) -> Floats:
    """(N,) what decides on deferral: how far the case is from another decision, in the units of the score.

    BINARY |score - threshold|; MULTILABEL the smallest over labels; MULTICLASS and ORDINAL the lead of the first class
    over the second. -inf where a score is not finite. InputError on a shape that does not fit the rule.
    """
    margins = _margins(rule, fast)
    nearest = margins.min(axis=1) if margins.ndim == 2 else margins
    return np.asarray(np.where(np.isnan(nearest), -np.inf, nearest), dtype=np.float64)


def defers(rule: Rule, fast: ArrayLike, band: float) -> Bools:
    """(N,) whether the original is asked: lead <= band, and always where a fast score is not finite."""
    return np.asarray(lead(rule, fast) <= band)


def flip_margins(rule: Rule, fast: ArrayLike, reference: ArrayLike) -> Floats:
    """(N,) the lead that the fast model had where it decides otherwise than the reference, 0 where they agree.

    MULTILABEL: the largest over the labels that differ, which bounds a label's flip even if it alone were deferred.
    A flip with no lead at all has the smallest positive number, so that no band of 0 hides it. 0 where a fast score is
    not finite, for such a case is always deferred. InputError where a reference score is not finite.
    """
    return _largest(flip_columns(rule, *paired(rule, fast, reference)))


def strict_margins(rule: Rule, fast: ArrayLike, reference: ArrayLike) -> Floats:
    """(N,) how far the score moved: a lead above it proves that the decision is the reference's.

    BINARY |fast - reference|; MULTILABEL the largest over labels; MULTICLASS and ORDINAL the largest change of the
    winner's lead over any other class. Never below `flip_margins`. Not finite: as there.
    """
    return _largest(strict_columns(rule, *paired(rule, fast, reference)))


def paired(rule: Rule, fast: ArrayLike, reference: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64 of one shape, the reference finite; else InputError."""
    new, ref = (np.asarray(scores, dtype=np.float64) for scores in (fast, reference))
    if new.shape != ref.shape:
        raise InputError(f"fast and reference scores must have one shape, got {new.shape} and {ref.shape}")
    broken = int((_columns(rule.decisions(ref)) < 0).any(axis=1).sum())
    if broken:
        raise InputError(
            f"the reference gave NaN or infinity on {broken} of {len(ref)} cases: no band can be set by it"
        )
    return new, ref


def flip_columns(rule: Rule, fast: Floats, reference: Floats) -> Floats:
    """`flip_margins` by label (N, L), or (N, 1)."""
    margins = _columns(_margins(rule, fast))
    differ = _columns(rule.decisions(fast) != rule.decisions(reference))
    finite = np.isfinite(margins).all(axis=1, keepdims=True)
    return np.asarray(np.where(differ & finite, np.maximum(margins, _TINY), 0.0), dtype=np.float64)


def strict_columns(rule: Rule, fast: Floats, reference: Floats) -> Floats:
    """`strict_margins` by label (N, L), or (N, 1)."""
    new, ref = _columns(fast), _columns(reference)
    new = np.where(np.isfinite(new).all(axis=1, keepdims=True), new, ref)
    if rule.task in (Task.BINARY, Task.MULTILABEL):
        return np.asarray(np.abs(new - ref), dtype=np.float64)
    winner = new.argmax(axis=1)[:, None]
    leads, were = (np.take_along_axis(scores, winner, axis=1) - scores for scores in (new, ref))
    return _largest(np.abs(leads - were))[:, None]


def _margins(rule: Rule, fast: ArrayLike) -> Floats:
    # Infinity less infinity: such a case is deferred, and no warning is owed for it.
    with np.errstate(invalid="ignore"):
        return rule.margins(fast)


def _columns(values: NDArray[Any]) -> NDArray[Any]:
    return values[:, None] if values.ndim == 1 else values


def _largest(columns: Floats) -> Floats:
    return np.asarray(columns.max(axis=1), dtype=np.float64)
