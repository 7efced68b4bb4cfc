"""The judged cases: labels, patients, groups and case ids, checked once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError
from primum.validation.arrays import Ints, as_labels, same_length

MISSING = "(missing)"
"""The level that blanks of a grouping column form."""


@dataclass(frozen=True, eq=False)
class Cases:
    """N cases in one order; every score vector that is judged with them has the same order.

    InputError on lengths that differ, labels other than 0 and 1, repeated case ids, a case without a patient
    (unless declared independent), or repeated patients in cases declared independent.
    """

    labels: Ints
    """(N,) 0 or 1."""
    patients: NDArray[Any]
    """(N,) patient ids; blank throughout where no patient column exists and `independent` is declared."""
    groups: dict[str, NDArray[Any]]
    """Grouping columns, each (N,); blank, None and NaN become "(missing)"."""
    case_ids: NDArray[Any]
    """(N,) unique."""
    independent: bool = False
    """True: the user declared that no patient has two cases."""

    def __post_init__(self) -> None:
        labels = as_labels(self.labels, allow_empty=True)
        n = labels.size
        case_ids, patients = as_text(self.case_ids, n, "case ids"), as_text(self.patients, n, "patients")
        if np.unique(case_ids).size != n:
            raise InputError(f"case ids must be unique; {n - np.unique(case_ids).size} are repeated")
        _check_patients(patients, self.independent)
        groups = {}
        for name, values in self.groups.items():
            levels = as_text(values, n, f"group column {name!r}")
            groups[name] = np.where(levels == "", MISSING, levels)
        for field, value in (
            ("labels", labels),
            ("patients", patients),
            ("groups", groups),
            ("case_ids", case_ids),
        ):
            object.__setattr__(self, field, value)

    def __len__(self) -> int:
        return int(self.labels.size)

    @property
    def units(self) -> NDArray[Any]:
        """(N,) what counts as one patient: the patient id, or the case itself where declared independent."""
        return self.case_ids if self.independent else self.patients


def as_text(values: Iterable[Any], n: int, name: str) -> NDArray[Any]:
    """`values` as stripped strings of shape (n,); None and NaN become "". InputError on another length."""
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
