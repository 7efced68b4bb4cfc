"""An .npz of columns: one key holds the inputs (N, ...), others the labels, patients and groups of the same N cases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.data.evaluation import EvaluationSet, Exclusion
from primum.data.labels import Labels, demand_classes, read_labels
from primum.data.npz import cells, opened
from primum.data.options import DataOptions
from primum.data.sources import ArraySource
from primum.errors import InputError
from primum.task import Task
from primum.validation.cases import demand_groups

_INPUTS, _LABELS = ("inputs", "x"), ("labels", "y")
_DEFAULTS = DataOptions()


def read_arrays(path: Path, options: DataOptions) -> EvaluationSet:
    """The cases of an .npz of columns. Raises InputError on a key that is missing or of another length, on inputs
    that are no numbers, a blank patient and labels that do not fit the task.
    """
    with opened(path) as archive:
        inputs_key = _key(path, archive, options.path_column, _DEFAULTS.path_column, _INPUTS)
        label_keys = options.label_columns or (
            _key(path, archive, options.label_column, _DEFAULTS.label_column, _LABELS),
        )
        others = [*([options.id_column] if options.id_column else []), *options.group_columns]
        others += [options.patient_column] if options.patient_column else []
        arrays = {key: archive[_there(path, archive, key)] for key in (inputs_key, *label_keys, *others)}
    inputs = arrays[inputs_key]
    if inputs.ndim < 2 or inputs.dtype.kind not in "biuf":
        raise InputError(f"{path}: {inputs_key} must hold numbers (N, ...), found {inputs.shape} of {inputs.dtype}")
    for key, array in arrays.items():
        if not array.ndim or len(array) != len(inputs):
            raise InputError(f"{path}: {key} must hold one entry for each of {len(inputs)} {inputs_key}")
    text = {key: cells(arrays[key], f"{path}: {key}") for key in others}
    ids = text[options.id_column] if options.id_column else [f"case {i}" for i in range(len(inputs))]
    _check_ids(path, ids)
    keys = f"inputs read from {inputs_key}, labels from {', '.join(label_keys)}"
    if options.task is Task.SEGMENTATION:
        return _segmentation(path, options, arrays, inputs_key, label_keys, text, ids, keys)
    labels = _labels(path, {key: arrays[key] for key in label_keys}, options)
    cases = _assemble(path, options, inputs, labels, text, ids, keys)
    demand_classes(labels, options.classes, cases.patients, str(path), f"the label key {label_keys[0]!r}")
    return cases


def _key(path: Path, archive: Mapping[str, Any], asked: str, default: str, usual: tuple[str, ...]) -> str:
    """The key that was asked for; where none was, the default or a usual one."""
    if asked != default:
        return asked
    found = next((key for key in (default, *usual) if key in archive), None)
    if found is None:
        flag = "--path-column" if usual is _INPUTS else "--label-column"
        raise InputError(
            f"{path}: holds neither {', '.join((default, *usual))} nor <split>_images with <split>_labels (MedMNIST's "
            f"names); name the key with {flag}: it has {', '.join(archive) or 'none'}"
        )
    return found


def _there(path: Path, archive: Mapping[str, Any], key: str) -> str:
    if key not in archive:
        raise InputError(f"{path}: no key {key!r}; it has {', '.join(archive)}")
    return key


def _labels(path: Path, arrays: Mapping[str, NDArray[Any]], options: DataOptions) -> Labels:
    """Labels (N,), (N, L) under one key, or one key a label."""
    ((first, array), *rest) = arrays.items()
    columns = arrays
    if array.ndim == 2 and not rest:
        named = options.classes or tuple(str(i) for i in range(array.shape[1]))
        if len(named) != array.shape[1]:
            raise InputError(f"{path}: {first} has {array.shape[1]} columns, --classes lists {len(named)} names")
        columns = dict(zip(named, array.T))
    text = {name: cells(column, f"{path}: {name}") for name, column in columns.items()}
    return read_labels(text, str(path), options.task, options.classes, lambda row: f"case {row}")


def _segmentation(
    path: Path,
    options: DataOptions,
    arrays: Mapping[str, NDArray[Any]],
    inputs_key: str,
    label_keys: tuple[str, ...],
    text: Mapping[str, list[str]],
    ids: list[str],
    keys: str,
) -> EvaluationSet:
    masks = arrays[label_keys[0]]
    if len(label_keys) != 1 or masks.ndim < 2 or masks.dtype.kind not in "biu":
        raise InputError(f"{path}: {label_keys[0]} must hold masks (N, ...) of whole numbers")
    n = len(masks)
    labels = Labels(Task.SEGMENTATION, options.classes, np.zeros((n, 0), np.int64), np.arange(n))
    cases = _assemble(path, options, arrays[inputs_key], labels, text, ids, keys)
    return cases.with_masks(ArraySource(masks, "mask"))


def _assemble(
    path: Path,
    options: DataOptions,
    inputs: NDArray[Any],
    labels: Labels,
    text: Mapping[str, list[str]],
    ids: list[str],
    keys: str,
) -> EvaluationSet:
    columns = {key: np.array(column, dtype=np.str_)[labels.rows] for key, column in text.items()}
    patients = columns[options.patient_column] if options.patient_column else None
    if patients is not None and (patients == "").any():
        row = int(labels.rows[np.flatnonzero(patients == "")[0]])
        raise InputError(f"{path}: case {row} has no {options.patient_column}")
    groups = {name: columns[name] for name in options.group_columns}
    demand_groups(groups, patients, str(path))
    unlabelled = np.setdiff1d(np.arange(len(inputs)), labels.rows)
    return EvaluationSet(
        source=ArraySource(inputs, "case"),
        index=labels.rows,
        labels=labels.values,
        classes=labels.classes,
        case_ids=np.array(ids, dtype=np.str_)[labels.rows],
        patients=patients,
        groups=groups,
        task=labels.task,
        excluded=tuple(Exclusion(ids[row], "no label") for row in unlabelled),
        notes=(keys, *labels.notes),
    )


def _check_ids(path: Path, ids: list[str]) -> None:
    if "" in ids:
        raise InputError(f"{path}: case {ids.index('')} has no id")
    if len(set(ids)) < len(ids):
        raise InputError(f"{path}: {len(ids) - len(set(ids))} case ids are repeated")
