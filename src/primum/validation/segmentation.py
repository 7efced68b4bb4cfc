"""Masks: Dice of each structure and case, and its paired difference by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from primum.config import ClinicalPolicy
from primum.errors import InputError
from primum.validation.arrays import Bools, Floats
from primum.validation.cases import Cases
from primum.validation.outcomes import named
from primum.validation.proportions import clopper_pearson_interval
from primum.validation.scores import judge_gain
from primum.validation.sufficiency import mark_mean
from primum.validation.verdict import Component

DICE_LOSS = 0.05
"""A case that loses more than this is a flip."""


def dice_scores(masks: ArrayLike, labels: ArrayLike, classes: Sequence[str]) -> Floats:
    """(N, C) Dice 2|A and B|/(|A| + |B|) of each case and structure (Dice 1945, Ecology 26:297).

    `classes` names the K classes of the masks, the background first: it is left out, so C = K - 1. `masks` are
    probabilities (N, K, *spatial), of which the largest wins (of equal ones the first), or class indices
    (N, *spatial); `labels` are the true class indices (N, *spatial). A structure absent from mask and truth has Dice 1
    (rightly not found), one absent from either alone 0. A case with a probability that is not finite has NaN
    throughout. InputError on shapes that do not fit, or indices outside the classes.
    """
    truth, given = np.asarray(labels), np.asarray(masks)
    structures = len(classes) - 1
    soft = given.ndim == truth.ndim + 1
    spatial = given.shape[2:] if soft else given.shape[1:]
    if structures < 1 or truth.ndim < 2 or (len(given), *spatial) != truth.shape:
        raise InputError(f"masks of shape {given.shape} do not fit truth of shape {truth.shape}")
    if soft and given.shape[1] != len(classes):
        raise InputError(f"masks have {given.shape[1]} channels for {len(classes)} classes, the background among them")
    _check_indices(truth, len(classes), "true masks")
    if not soft:
        _check_indices(given, len(classes), "masks")
    found = np.empty((len(truth), structures))
    for i, true in enumerate(truth):
        if soft and not np.isfinite(given[i]).all():
            found[i] = np.nan
            continue
        called = given[i].argmax(axis=0) if soft else given[i]
        for c in range(1, structures + 1):
            a, b = called == c, true == c
            total = int(a.sum()) + int(b.sum())
            found[i, c - 1] = 2 * int((a & b).sum()) / total if total else 1.0
    return found


def structures_of(cases: Cases, columns: int) -> tuple[str, ...]:
    """The names of the structures that Dice scores are of: the classes, without the background where it is named first.

    InputError where the number of columns fits neither.
    """
    names = cases.classes
    if columns == len(names):
        return names
    if columns == len(names) - 1:
        return names[1:]
    raise InputError(f"Dice scores have {columns} columns for {len(names)} classes: {', '.join(names)}")


def judge_dice(
    cases: Cases, names: Sequence[str], reference: Floats, candidate: Floats, policy: ClinicalPolicy
) -> tuple[Component, ...]:
    """Each structure's mean Dice, candidate - reference, by patient; scores (N, C); a case may lose all of it.

    Beside it the share of patients of whom some case loses more than 0.05, with its Clopper-Pearson bounds. The
    candidate's Dice must be finite: the gate takes one that is not as 0.
    """
    return tuple(_parts(cases, names, reference, candidate, np.ones(len(cases), dtype=np.bool_), policy))


def judge_level(
    cases: Cases, names: Sequence[str], reference: Floats, candidate: Floats, member: Bools, policy: ClinicalPolicy
) -> tuple[list[Component], tuple[Component, ...]]:
    """(deciding, reported) components of the cases in `member` (N,)."""
    parts = _parts(cases, names, reference, candidate, member, policy)
    return [mark_mean(part, policy.confidence) for part in parts], ()


def _parts(
    cases: Cases, names: Sequence[str], reference: Floats, candidate: Floats, member: Bools, policy: ClinicalPolicy
) -> list[Component]:
    parts = []
    for c, structure in enumerate(names):
        before, after, units = reference[member, c], candidate[member, c], cases.units[member]
        # No case can lose more than the Dice that it has.
        part = judge_gain(named("dice", structure), before, after, units, policy, worst=float(reference[:, c].max()))
        lost = np.unique(units[before - after > DICE_LOSS]).size
        share = clopper_pearson_interval(lost, part.n_patients, policy.confidence)
        beside = {"share_losing": share.estimate, "share_losing_lower": share.lower, "share_losing_upper": share.upper}
        parts.append(replace(part, view=structure, beside=part.beside | beside))
    return parts


def _check_indices(values: NDArray[np.generic], classes: int, name: str) -> None:
    if values.dtype.kind not in "biu":
        raise InputError(f"{name} must hold whole numbers, got values of type {values.dtype}")
    if values.size and (int(values.min()) < 0 or int(values.max()) >= classes):
        raise InputError(f"{name} must hold classes 0 to {classes - 1}, got {values.min()} to {values.max()}")
