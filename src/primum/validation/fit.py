"""Whether an original's outputs and the labels speak of the same classes: judged otherwise, harm would be rewarded."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import atanh, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from primum.errors import InputError
from primum.task import Task
from primum.validation.arrays import Bools, Floats
from primum.validation.cases import PATIENT, Cases
from primum.validation.metrics import auroc
from primum.validation.output_order import ERROR, Asked, better_order, chance_error, sides
from primum.validation.proportions import clopper_pearson_interval
from primum.validation.views import Question, questions

BACKWARDS = 0.35
"""An AUROC of the original below this is taken for swapped labels."""
_KNOWN = 20
"""Patients of either side from which ranking at random is told."""
_SHOWN = 0.01
"""Error allowed where one AUROC at least is called more than chance."""
_ENOUGH = 10
"""Patients below which nothing is said of values."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What outputs and labels say of one another."""

    misfit: str = ""
    """Why they cannot belong together, as what "the original" does; empty where nothing shows it."""
    order: tuple[str, ...] = ()
    """What the outputs would stand for, in their order, if they fitted; empty where no other order is known to fit."""
    notes: tuple[str, ...] = field(default=())
    """What is odd and no proof."""


def demand_fit(fit: Fit, remedy: str) -> tuple[str, ...]:
    """The notes; InputError, which ends with `remedy`, on a misfit."""
    if fit.misfit:
        raise InputError(f"the original {fit.misfit}. {remedy}")
    return fit.notes


def fit_of(cases: Cases, scores: Floats, sure: bool = True) -> Fit:
    """Of the original's scores on these cases, as the gate takes them; masks have `fit_masks`.

    A misfit is what an original without skill shows less than once in ten thousand. `sure` False: rankings of two
    classes, and the share of several that is right, are taken as they are, however few cases there are. Cases
    with a score that is not finite are passed over.
    """
    known: Bools = np.asarray(np.isfinite(scores.reshape(len(scores), -1)).all(axis=1))
    if not known.any() or cases.task is Task.SEGMENTATION:
        return Fit()
    if cases.task is Task.REGRESSION:
        return Fit(notes=tuple(_of_values(cases, scores, known)))
    ranked = _backwards(cases, scores, known, sure)
    if cases.task is Task.BINARY:
        return ranked
    turned = _turned(cases, scores, known)
    guessed = "" if cases.task is Task.MULTILABEL else _guessed(cases, scores, known, sure)
    if turned.misfit:
        return turned
    return Fit(ranked.misfit or guessed, notes=(*turned.notes, *ranked.notes))


def _backwards(cases: Cases, scores: Floats, known: Bools, sure: bool) -> Fit:
    """The questions that the original answers the wrong way round: one class, cut or label after another."""
    asked = questions(cases)
    needed = float(ndtri(1 - ERROR / max(len(asked), 1)))
    more = float(ndtri(1 - _SHOWN / max(len(asked), 1)))
    misfits, notes = [], []
    above: list[bool] = []
    for one in asked:
        kept = known[one.rows]
        labels, own = one.labels[kept], _score(one, cases.task, scores)[kept]
        m, n = sides(labels, cases.units[one.rows][kept])
        if not m or not n:
            continue
        area = auroc(labels, own)
        certain = area < 0.5 - needed * chance_error(m, n)
        above += [area > 0.5 + more * chance_error(m, n)] if min(m, n) >= _KNOWN else []
        said = f"{_said(one, cases)} (AUROC {area:.3f}"
        if area < BACKWARDS and (certain or (not sure and cases.task is Task.BINARY)):
            misfits.append(f"{said}): labels and outputs do not match")
        elif area < BACKWARDS:
            notes.append(
                f"the original {said} of {m} and {n} {_units(cases)}, too few to tell whether labels are exchanged)"
            )
        elif certain:
            notes.append(f"the original {said}, worse than chance): look whether labels and outputs belong together")
    if above and not any(above) and not misfits:
        notes.append("the original ranks these cases no better than chance: look whether the labels are theirs")
    return Fit("; it ".join(misfits), notes=tuple(notes))


def _score(asked: Question, task: Task, scores: Floats) -> Floats:
    if task is Task.BINARY:
        return scores
    if task is Task.ORDINAL:
        return np.asarray(scores[:, asked.column :].sum(axis=1))
    return np.asarray(scores[asked.rows, asked.column])


def _said(asked: Question, cases: Cases) -> str:
    name = cases.classes[asked.column]
    if cases.task is Task.BINARY:
        return f"ranks {cases.classes[1]!r} below {cases.classes[0]!r}"
    if cases.task is Task.MULTILABEL:
        return f"ranks cases with {name!r} below those without"
    if cases.task is Task.ORDINAL:
        return f"ranks grades from {name!r} on below the lower ones"
    return f"ranks {name!r} below the other classes"


def _turned(cases: Cases, scores: Floats, known: Bools) -> Fit:
    """Another order of the outputs that fits clearly and much better."""
    asked = []
    for k in range(len(cases.classes)):
        rows = np.flatnonzero(known & (cases.labels[:, k] >= 0) if cases.task is Task.MULTILABEL else known)
        truth = cases.labels[rows, k] if cases.task is Task.MULTILABEL else (cases.labels[rows] == k).astype(np.int64)
        asked.append(Asked(rows, truth, sides(truth, cases.units[rows])))
    found = better_order(asked, np.where(known[:, None], scores, 0.0), cases.units)
    if found is None:
        return Fit()
    order = tuple(cases.classes[k] for k in found.order)
    said = f"{', '.join(order)} (mean AUROC {found.after:.3f}; as named {found.before:.3f})"
    if found.sure:
        return Fit(f"fits the labels far better if its outputs stand for, in their order, {said}", order)
    return Fit(notes=(f"the original's outputs may be in another order, with too few cases to tell: {said}",))


def _guessed(cases: Cases, scores: Floats, known: Bools, sure: bool) -> str:
    """Right on less than half of what guessing would be: the outputs are in another order than the classes."""
    labels, units = cases.labels[known], np.unique(cases.units[known]).size
    right = float(np.mean(scores[known].argmax(axis=1) == labels))
    if right >= 0.5 / np.unique(labels).size:
        return ""
    if sure and clopper_pearson_interval(right * units, units, 1 - 2 * ERROR).upper >= 1 / len(cases.classes):
        return ""
    return f"is right on {right:.1%} of {len(labels)} cases, far less than guessing"


def _of_values(cases: Cases, scores: Floats, known: Bools) -> list[str]:
    """Values that fall where the labels rise, or err more than one number for all would."""
    notes: list[str] = []
    units = np.unique(cases.units[known]).size
    if units < _ENOUGH:
        return notes
    for k, name in enumerate(cases.classes):
        truth, given = cases.labels[known, k], scores.reshape(len(scores), -1)[known, k]
        together = _correlation(truth, given)
        if atanh(together) * sqrt(units - 3) < ndtri(ERROR):
            notes.append(f"the original's {name!r} falls where the labels rise (correlation {together:.2f})")
        error, flat = float(np.abs(given - truth).mean()), float(np.abs(truth - truth.mean()).mean())
        if error > flat:
            notes.append(
                f"the original's mean error of {name!r} is {error:.4g}, larger than the {flat:.4g} of always answering "
                "the labels' mean: look whether labels and outputs are of one quantity and unit"
            )
    return notes


def _correlation(truth: NDArray[np.float64], given: NDArray[np.float64]) -> float:
    if np.ptp(truth) == 0 or np.ptp(given) == 0:
        return 0.0
    return float(np.clip(np.corrcoef(truth, given)[0, 1], -0.999999, 0.999999))


def _units(cases: Cases) -> str:
    return "patients" if cases.unit == PATIENT else "cases"
