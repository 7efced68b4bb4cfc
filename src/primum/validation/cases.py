"""The judged cases: labels, patients, groups and case ids, checked once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError
from primum.task import Task
from primum.validation.arrays import as_labels, refuse_masked, same_length

PATIENT = "patient"
NO_PATIENTS = (
    "no patient is named: each distinct input counts as a patient of its own, which proves too much where one has "
    "several (name them with --patient-column, or declare with --independent that none has)"
)
MISSING = "(missing)"
"""The level that blanks of a grouping column form."""

_MANY_LEVELS, _FEW_EACH = 20, 5
_ALONE = 6


@dataclass(frozen=True, eq=False)
class Cases:
    """N cases in one order; every score vector that is judged with them has the same order.

    InputError on lengths that differ, labels that do not fit the task, repeated case ids or classes, a case without a
    patient (unless declared independent, or all are known by content), or repeated patients in cases declared
    independent.
    """

    labels: NDArray[Any]
    """BINARY: (N,) 0 or 1. MULTICLASS, ORDINAL: (N,) index into `classes`, ORDINAL from the lowest grade. MULTILABEL:
    (N, L) 0, 1, or -1 where a label is not known. REGRESSION: (N, D) float64. SEGMENTATION: (N, 0), for masks are
    scored before (Dice by structure)."""
    patients: NDArray[Any]
    """(N,) patient ids; blank throughout where nobody named them, and `contents` or a declaration stands in."""
    groups: dict[str, NDArray[Any]]
    """Grouping columns, each (N,); blank, None and NaN become "(missing)"."""
    case_ids: NDArray[Any]
    """(N,) unique."""
    independent: bool = False
    """True: the user declared that no patient has two cases."""
    task: Task = Task.BINARY
    classes: tuple[str, ...] = ("negative", "positive")
    """Names of the classes, labels, outputs (REGRESSION) or structures (SEGMENTATION)."""
    contents: NDArray[Any] | None = None
    """(N,) digests of the inputs: where no patient is named, cases of one content count as one patient's do."""

    def __post_init__(self) -> None:
        refuse_masked(self.labels, "labels")
        labels = _as_labels_of(self.task, self.labels, self.classes)
        n = len(labels)
        if len(set(self.classes)) != len(self.classes):
            raise InputError(f"the names of classes must be unique, got {', '.join(self.classes)}")
        case_ids, patients = as_text(self.case_ids, n, "case ids"), as_text(self.patients, n, "patients")
        if np.unique(case_ids).size != n:
            raise InputError(f"case ids must be unique; {n - np.unique(case_ids).size} are repeated")
        contents = None if self.contents is None else as_text(self.contents, n, "contents")
        if contents is None or self.independent or (patients != "").any():
            _check_patients(patients, self.independent)
        groups = {}
        for name, values in self.groups.items():
            levels = as_text(values, n, f"group column {name!r}")
            groups[name] = np.where(levels == "", MISSING, levels)
        for field, value in (
            ("labels", labels),
            ("patients", patients),
            ("contents", contents),
            ("groups", groups),
            ("case_ids", case_ids),
        ):
            object.__setattr__(self, field, value)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def units(self) -> NDArray[Any]:
        """(N,) what counts as one patient: the patient id; where none is named, the content, else the case itself."""
        if self.named:
            return self.patients
        return self.case_ids if self.contents is None else self.contents

    @property
    def unit(self) -> str:
        """What `units` are, in words."""
        if self.named:
            return PATIENT
        return "case (declared independent)" if self.contents is None else unit_without_patients(self.independent)

    @property
    def copies(self) -> int:
        """Cases that repeat the input of another, where no patient is named: they count as one with it."""
        return 0 if self.named else len(self) - int(np.unique(self.units).size)

    @property
    def named(self) -> bool:
        """Whether the data name patients, who are the units then."""
        return not self.independent and not (self.contents is not None and bool((self.patients == "").all()))


def demand_groups(groups: Mapping[str, NDArray[Any]], patients: NDArray[Any] | None, where: str) -> None:
    """InputError where a grouping column (N,) names cases or patients: reports print what its values are.

    It has more than 20 different values with fewer than five `patients` (N,) each on average, or most patients have a
    value (of six or more) to themselves; cases count as patients where these are not named.
    """
    for name, values in groups.items():
        if found := names_somebody(values, patients):
            raise InputError(
                f"{where}: the group column {name!r} has {found}: it names cases or patients rather than groups, and "
                "reports would print them. Leave it out, or sort its values"
            )


def names_somebody(values: NDArray[Any], patients: NDArray[Any] | None) -> str:
    """How many values (N,) there are on how many patients, where these name cases or patients as `demand_groups` says;
    else ""."""
    units = np.arange(len(values)) if patients is None else patients
    pairs = {(str(value), str(unit)) for value, unit in zip(values, units)}
    held = Counter(value for value, _ in pairs)
    distinct, all_units = len(held), len({unit for _, unit in pairs})
    alone = sum(count == 1 for count in held.values())
    many = distinct > _MANY_LEVELS and _FEW_EACH * distinct > all_units
    if not many and (alone < _ALONE or 2 * alone <= all_units):
        return ""
    return f"{distinct} different values on {all_units} {'cases' if patients is None else 'patients'}"


def unit_without_patients(declared: bool) -> str:
    """The unit of evidence where cases are known by content alone, in words."""
    return f"distinct case ({'declared independent' if declared else 'no patient named'})"


def say_copies(copies: int, cases: int) -> str:
    """What must be said of rows that repeat others."""
    return (
        f"{copies} of {cases} cases repeat the input of another, and no patient is named: each input counts once "
        "(where they are different patients, name them with --patient-column)"
    )


def _as_labels_of(task: Task, values: NDArray[Any], classes: tuple[str, ...]) -> NDArray[Any]:
    """Labels checked against their task; InputError saying what is wrong."""
    if task is Task.BINARY:
        return as_labels(values, allow_empty=True)
    array, width = np.asarray(values), len(classes)
    if task is Task.SEGMENTATION:
        return array.reshape(len(array), -1)[:, :0]
    if array.dtype.kind not in "biuf":
        raise InputError(f"labels must be numbers, got values of type {array.dtype}")
    if task is Task.REGRESSION:
        array = array.reshape(len(array), -1).astype(np.float64)
        if array.shape[1] != width or not np.isfinite(array).all():
            raise InputError(f"labels must be finite numbers of shape (N, {width}), got shape {array.shape}")
        return array
    shape, lowest, highest = ((width,), -1, 1) if task is Task.MULTILABEL else ((), 0, width - 1)
    if array.shape[1:] != shape:
        raise InputError(
            f"labels must have shape (N, {width}), got {array.shape}"
            if shape
            else f"labels must have one dimension, got shape {array.shape}"
        )
    wrong = (array < lowest) | (array > highest) | (array != np.floor(array))
    if wrong.any():
        where = int(np.argwhere(wrong)[0][0])
        raise InputError(
            f"labels must be whole numbers from {lowest} to {highest} ({task.value}); "
            f"{int(wrong.sum())} are not (first at position {where})"
        )
    return array.astype(np.int64)


def as_text(values: Iterable[Any], n: int, name: str) -> NDArray[Any]:
    """`values` as stripped strings of shape (n,); None and NaN become "". InputError on another length."""
    refuse_masked(values, name)
    array = np.asarray(values, dtype=object)
    same_length(array, n, name)
    return np.array(["" if v is None or v != v else str(v).strip() for v in array], dtype=np.str_)


def _check_patients(patients: NDArray[Any], independent: bool) -> None:
    blank = patients == ""
    if independent:
        named = patients[~blank]
        repeated = named.size - np.unique(named).size
        if repeated:
            raise InputError(
                f"the cases are declared independent, but {repeated} share a patient with another case: "
                "drop the declaration, and they are judged by patient"
            )
    elif blank.any():
        raise InputError(
            f"{int(blank.sum())} cases have no patient (first at position {int(np.flatnonzero(blank)[0])}): "
            "name the patients, or declare the cases independent"
        )
