"""From label cells to labels of a task: what the model decides, and the names of its outputs in their order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError
from primum.task import Task
from primum.validation.cases import names_somebody

MANY_NUMBERS = 20
"""More distinct numbers than this in one label column are hardly classes: the task must be named."""
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]*)?")
_PRESENT = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0, "-1": -1, "-1.0": -1, "": -1}
UNKNOWN = -1
"""A finding that nobody has looked for (MULTILABEL)."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of the n rows that have one.

    `values`: (n,) int64 index into `classes` (BINARY, MULTICLASS, ORDINAL); (n, L) int64 0, 1 or -1 unknown
    (MULTILABEL); (n, D) float64 (REGRESSION); (n, 0) (SEGMENTATION: the cells are paths of masks).
    """

    task: Task
    classes: tuple[str, ...]
    values: NDArray[Any]
    rows: NDArray[np.int64]
    """(n,) positions among all rows."""
    notes: tuple[str, ...] = ()


def read_labels(
    columns: Mapping[str, Sequence[str]],
    where: str,
    task: Task | None = None,
    classes: tuple[str, ...] = (),
    at: Callable[[int], str] = lambda row: f"row {row + 1}",
) -> Labels:
    """Labels from stripped cells, "" where there is none; `at` says where a row stands in the file.

    Raises InputError on cells that are no label of the task, fewer than two classes, and `classes` that do not list
    the labels found.
    """
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise InputError(f"--classes lists {twice!r} more than once")
    task = task or _infer(columns, where, classes)
    if task is Task.MULTILABEL or task is Task.REGRESSION:
        return _wide(_reordered(columns, classes, where), where, task, at)
    if len(columns) != 1:
        raise InputError(f"{where}: a {task.value} model has one label column, {len(columns)} were named")
    ((name, cells),) = columns.items()
    rows = np.flatnonzero([cell != "" for cell in cells]).astype(np.int64)
    if task is Task.SEGMENTATION:
        if not len(rows):
            raise InputError(f"{where}: column {name!r} names no mask")
        return Labels(task, classes, np.zeros((len(rows), 0), np.int64), rows)
    found = [cells[row] for row in rows]
    _demand_listed(found, lambda k: at(int(rows[k])), f"{where}: column {name!r}", classes)
    order, notes = _class_order(set(found), f"{where}: column {name!r}", task, classes)
    place = {label: i for i, label in enumerate(order)}
    return Labels(task, order, np.array([place[label] for label in found], np.int64), rows, notes)


def demand_classes(
    labels: Labels, listed: tuple[str, ...], patients: NDArray[Any] | None, where: str, what: str
) -> None:
    """InputError where labels that nobody `listed` name cases or patients (N,), as a column named by mistake does:
    plans and reports print what the classes are."""
    if listed or labels.task not in (Task.BINARY, Task.MULTICLASS, Task.ORDINAL):
        return
    if found := names_somebody(labels.values, patients):
        raise InputError(
            f"{where}: {what} has {found}: it names cases or patients rather than classes, and plans and reports would "
            "print them. Name the label column, list the classes with --classes, or give --task regression for numbers"
        )


def _infer(columns: Mapping[str, Sequence[str]], where: str, classes: tuple[str, ...]) -> Task:
    if len(columns) > 1:
        return Task.MULTILABEL
    ((name, cells),) = columns.items()
    distinct = set(cells) - {""}
    if not classes and len(distinct) > MANY_NUMBERS and _numbers(distinct):
        raise InputError(
            f"{where}: column {name!r} holds {len(distinct)} different numbers: give --task regression, or --task "
            "multiclass (or ordinal) where they are classes"
        )
    return Task.BINARY if len(classes or distinct) == 2 else Task.MULTICLASS


def _demand_listed(found: Sequence[str], at: Callable[[int], str], where: str, classes: tuple[str, ...]) -> None:
    """InputError on labels that `classes` do not list. It says where they stand, not what they are: a column that was
    named by mistake may hold patients' names."""
    unlisted = set(found) - set(classes)
    if classes and unlisted:
        place = at(next(k for k, label in enumerate(found) if label in unlisted))
        raise InputError(
            f"{where} holds {len(unlisted)} different label{'s' * (len(unlisted) > 1)} that --classes does not list, "
            f"the first at {place}; it lists {', '.join(classes)}"
        )


def _class_order(
    found: set[str], where: str, task: Task, classes: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes in the order of the model's outputs, and notes."""
    if len(found) < 2:
        raise InputError(f"{where} holds {len(found)} class(es); two are needed")
    order = classes or _sorted(found)
    if task is Task.ORDINAL and not classes and not _numbers(found):
        raise InputError(f"{where} holds grades that are no numbers: list them from the lowest with --classes")
    if task is Task.BINARY and len(order) != 2:
        raise InputError(f"{where}: a binary model decides between two classes, there are {len(order)}")
    empty = [name for name in order if name not in found]
    return order, (f"no case has the class {', '.join(empty)}",) if empty else ()


def _sorted(found: set[str]) -> tuple[str, ...]:
    """Numbers by value, names by alphabet."""
    return tuple(sorted(found, key=lambda x: (float(x), x)) if _numbers(found) else sorted(found))


def _numbers(found: set[str]) -> bool:
    return all(_DECIMAL.fullmatch(label) for label in found)


def _reordered(
    columns: Mapping[str, Sequence[str]], classes: tuple[str, ...], where: str
) -> Mapping[str, Sequence[str]]:
    """The columns in the order of the model's outputs."""
    if classes and set(classes) != set(columns):
        raise InputError(f"{where}: --classes must list the label columns: {', '.join(columns)}")
    return {name: columns[name] for name in classes or columns}


def _wide(columns: Mapping[str, Sequence[str]], where: str, task: Task, at: Callable[[int], str]) -> Labels:
    parse = _finding if task is Task.MULTILABEL else _number
    table, notes = [], []
    for name, cells in columns.items():
        values = np.empty(len(cells))
        for row, cell in enumerate(cells):
            try:
                values[row] = parse(cell)
            except ValueError as error:
                raise InputError(f"{where}: {at(row)}, column {name!r}: {error}") from error
        uncertain = sum(cell in ("-1", "-1.0") for cell in cells) if task is Task.MULTILABEL else 0
        notes += [f"{name}: {uncertain} label(s) of -1 are taken as unknown"] * bool(uncertain)
        table.append(values)
    all_rows = np.stack(table, axis=1)
    known = (all_rows != UNKNOWN).any(axis=1) if task is Task.MULTILABEL else np.isfinite(all_rows).all(axis=1)
    rows = np.flatnonzero(known).astype(np.int64)
    if not len(rows):
        raise InputError(f"{where}: no case has a label in {', '.join(columns)}")
    values = all_rows[rows]
    return Labels(
        task, tuple(columns), values.astype(np.int64) if task is Task.MULTILABEL else values, rows, tuple(notes)
    )


def _finding(cell: str) -> float:
    if cell.lower() not in _PRESENT:
        raise ValueError("a finding is 1 (present), 0 (absent), or blank where it is not known")
    return _PRESENT[cell.lower()]


def _number(cell: str) -> float:
    """The number; NaN where the cell is blank."""
    if not cell:
        return float("nan")
    try:
        value = float(cell)
    except ValueError:
        value = float("inf")
    if not isfinite(value) or "_" in cell:
        raise ValueError("not a finite number")
    return value
