"""The data and words that a caller of the validator hands in, checked before a model is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError
from primum.task import Task
from primum.validation.arrays import refuse_masked, same_length
from primum.validation.cases import demand_groups

FIELDS = ("inputs", "labels", "patients", "groups", "case_ids")
_MANY = 20
"""More distinct whole numbers than this are hardly classes."""
_NAMED = (Task.BINARY, Task.MULTICLASS, Task.ORDINAL)
"""Tasks whose labels may be names of classes."""
_Choice = TypeVar("_Choice", bound=StrEnum)


@dataclass(frozen=True, eq=False)
class Given:
    """N >= 1 labelled cases of one length throughout."""

    inputs: NDArray[np.float32]
    """(N, *shape)"""
    labels: NDArray[Any]
    """(N,), (N, L) or (N, *spatial) finite numbers; or (N,) names of classes, as text."""
    patients: NDArray[Any] | None
    """(N,)"""
    groups: dict[str, NDArray[Any]]
    """(N,) each"""
    case_ids: NDArray[Any] | None
    """(N,)"""


def read_given(data: Any) -> Given:
    """What `validate_quantization` takes as data. InputError naming the part that is missing, empty, of another length
    than the inputs, or not of the kind it must be."""
    parts = _parts(data)
    inputs = _numbers("inputs", _array("inputs", parts["inputs"]))
    if inputs.ndim < 2:
        raise InputError(f"inputs must have shape (N, *shape), a case a row, got shape {inputs.shape}")
    n = len(inputs)
    if not n:
        raise InputError(f"there are no cases: inputs have shape {inputs.shape}; give at least one labelled case")
    labels = _labels(_array("labels", parts["labels"]), n)
    groups = parts.get("groups")
    if groups is not None and not isinstance(groups, Mapping):
        raise InputError(f"groups must be a mapping of column to one value a case, got a {type(groups).__name__}")
    patients = _column("patients", parts.get("patients"), n)
    columns = {str(name): _one_each(f"group column {name!r}", own, n) for name, own in (groups or {}).items()}
    demand_groups(columns, patients, "data")
    return Given(
        inputs=np.ascontiguousarray(inputs, dtype=np.float32),
        labels=labels,
        patients=patients,
        groups=columns,
        case_ids=_column("case ids", parts.get("case_ids"), n),
    )


def is_text(labels: NDArray[Any]) -> bool:
    """Whether labels are names of classes."""
    return labels.dtype.kind == "U"


def choice(kind: type[_Choice], value: _Choice | str, name: str) -> _Choice:
    """The member of that value. InputError listing all."""
    try:
        return kind(value)
    except ValueError:
        raise InputError(f"{name} {value!r} is none of {', '.join(kind)}") from None


def class_names(classes: Sequence[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """The names of classes: those given, else those that an artifact knows. InputError where both differ."""
    if isinstance(classes, str):
        raise InputError(f"classes must be a list of names in the order of the model's outputs, got {classes!r}")
    given = tuple(classes)
    if given and known and given != known:
        raise InputError(f"the artifact decides {', '.join(known)}, in this order; classes has {', '.join(given)}")
    return given or known


def infer_task(labels: NDArray[Any], classes: tuple[str, ...] = ()) -> Task:
    """What labels (N,), (N, L) or (N, *spatial) ask, or names (N,) of `classes`. InputError where that cannot be
    told."""
    if is_text(labels):
        return Task.BINARY if len(classes) == 2 else Task.MULTICLASS
    whole = labels.dtype.kind in "biu" or bool(np.isfinite(labels).all() and (labels == np.floor(labels)).all())
    values = np.unique(labels) if whole else np.zeros(0)
    if labels.ndim > 2:
        return Task.SEGMENTATION
    if labels.ndim == 2 and labels.shape[1] > 1:
        return Task.MULTILABEL if whole and np.isin(values, (-1, 0, 1)).all() else Task.REGRESSION
    if not whole:
        return Task.REGRESSION
    if np.isin(values, (0, 1)).all():
        return Task.BINARY
    if values.min() >= 0 and values.size <= _MANY:
        return Task.MULTICLASS
    if values.size == 2:
        shown = " and ".join(f"{value:g}" for value in values)
        raise InputError(
            f"the labels are {shown}: of two classes they are 0 and 1 (1 is what a single output stands for); say "
            "task='regression' where they are values"
        )
    raise InputError(f"the labels have {values.size} whole numbers: say whether they are classes or values (task=...)")


def as_numbers(labels: NDArray[Any], task: Task, classes: tuple[str, ...]) -> NDArray[Any]:
    """Labels as the gate takes them: names (N,) become their index in `classes`, numbers stay.

    InputError on names that no class has, or in a task without classes; on masks that hold nothing but background.
    """
    if task is Task.SEGMENTATION and not is_text(labels):
        demand_structures(labels)
    if not is_text(labels):
        return labels
    if task not in _NAMED:
        raise InputError(f"labels are text ({_counted(labels)}); {task.value} needs numbers")
    if not classes:
        raise InputError(
            f"labels are text ({_counted(labels)}): name the classes in the order of the model's outputs "
            "(classes=...), or give each label as its index"
        )
    unknown = ~np.isin(labels, classes)
    if unknown.any():
        raise InputError(
            f"labels hold {_counted(labels[unknown])} that no class has, the first at position "
            f"{int(np.flatnonzero(unknown)[0])}; classes has {', '.join(classes)}: name every class"
        )
    place = {name: k for k, name in enumerate(classes)}
    return np.array([place[name] for name in labels.tolist()], dtype=np.int64)


def demand_structures(masks: NDArray[Any]) -> None:
    """InputError where all true masks (N, *spatial) are background: no Dice can then be lost, whatever a model does."""
    if not np.any(masks):
        raise InputError(
            f"the true masks hold no structure: all {len(masks)} are background (0), so there is no Dice to lose; give "
            "cases of which some have a structure"
        )


def _parts(data: Any) -> dict[str, Any]:
    if isinstance(data, Mapping):
        unknown = sorted(map(str, set(data) - set(FIELDS)))
        if unknown or not {"inputs", "labels"} <= set(data):
            raise InputError(f"data need inputs and labels, and may hold patients, groups and case_ids; not {unknown}")
        return dict(data)
    if not isinstance(data, tuple | list) or not 2 <= len(data) <= 4:
        raise InputError("data must be (inputs, labels[, patients[, groups]]) or a mapping with these names")
    return dict(zip(FIELDS, data))


def _array(name: str, values: Any) -> NDArray[Any]:
    refuse_masked(values, name)
    try:
        if hasattr(values, "detach"):
            values = values.detach().cpu().numpy()
        return np.asarray(values)
    except (TypeError, ValueError):
        raise InputError(f"{name} are no array: rows of different lengths, or of a type that numpy lacks") from None


def _numbers(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise InputError(f"{name} must be numbers; some are not") from None
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} must be numbers, got values of type {array.dtype}")
    return array


def _labels(array: NDArray[Any], n: int) -> NDArray[Any]:
    """Finite numbers, or stripped names (N,)."""
    if array.ndim == 0 or len(array) != n:
        count = "a single value" if array.ndim == 0 else f"{len(array)} labels"
        raise InputError(f"there are {n} inputs and {count}")
    if array.dtype.kind == "U" or (array.dtype.kind == "O" and any(isinstance(v, str) for v in array.flat)):
        if array.size != n:
            raise InputError(f"labels are text of shape {array.shape}: names of classes must be one a case, ({n},)")
        names = np.array(["" if v is None or v != v else str(v).strip() for v in array.ravel().tolist()], np.str_)
        _demand_all(names != "")
        return names
    numbers = _numbers("labels", array)
    _demand_all(np.isfinite(numbers).reshape(n, -1).all(axis=1))
    return numbers


def _demand_all(known: NDArray[np.bool_]) -> None:
    if not known.all():
        raise InputError(
            f"{int((~known).sum())} of {known.size} cases have no label (blank, NaN or infinity; first at position "
            f"{int(np.flatnonzero(~known)[0])}): leave them out; a finding that is not known is -1"
        )


def _column(name: str, values: Any, n: int) -> NDArray[Any] | None:
    return None if values is None else _one_each(name, values, n)


def _one_each(name: str, values: Any, n: int) -> NDArray[Any]:
    array = _array(name, values)
    same_length(array, n, name)
    return array


def _counted(labels: NDArray[Any]) -> str:
    """How many names there are, not which: labels taken by mistake may name patients."""
    count = np.unique(labels).size
    return f"{count} different name{'s' * (count > 1)}"
