"""MedMNIST's .npz: images and labels of up to three splits, without patients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.data.evaluation import EvaluationSet
from primum.data.labels import demand_classes, read_labels
from primum.data.npz import cells, opened
from primum.data.options import DataOptions
from primum.data.sources import ArraySource
from primum.errors import InputError

_SPLITS = ("train", "val", "test")
_WHAT = "a MedMNIST .npz"


def is_medmnist(path: Path) -> bool:
    """Whether the keys are MedMNIST's."""
    with opened(path, _WHAT) as arrays:
        return any(f"{s}_images" in arrays and f"{s}_labels" in arrays for s in _SPLITS)


def read_medmnist(path: Path, options: DataOptions) -> EvaluationSet:
    """All splits, one after the other. Raises InputError on anything that is not MedMNIST's."""
    if options.patient_column or options.group_columns:
        raise InputError(f"{path}: patient and group columns need a .csv manifest")
    images, labels, names, splits = _arrays(path)
    if images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,), (3,)) or images.dtype != np.uint8:
        raise InputError(f"{path}: expected uint8 images (N, H, W[, 3]), found {images.shape} of {images.dtype}")
    whole = labels.dtype.kind in "biu" or (labels.dtype.kind == "f" and bool((labels == np.floor(labels)).all()))
    if not whole:
        raise InputError(f"{path}: expected whole numbers as the labels of each image")
    columns = {str(i): cells(column, f"{path}: labels") for i, column in enumerate(labels.T)}
    read = read_labels(columns, str(path), options.task, options.classes)
    demand_classes(read, options.classes, None, str(path), "the key of labels")
    return EvaluationSet(
        source=ArraySource(images),
        index=np.arange(len(images)),
        labels=read.values,
        classes=read.classes,
        case_ids=np.array(names, dtype=np.str_),
        patients=None,
        groups={},
        task=read.task,
        notes=(f"splits read: {', '.join(splits)}", *read.notes),
    )


def _arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any], list[str], list[str]]:
    """Images, labels (N, L), names and splits."""
    with opened(path, _WHAT) as arrays:
        splits = [s for s in _SPLITS if f"{s}_images" in arrays and f"{s}_labels" in arrays]
        read = [(arrays[f"{s}_images"], arrays[f"{s}_labels"]) for s in splits]
        for split, (images, labels) in zip(splits, read):
            if images.ndim == 0 or labels.ndim not in (1, 2) or len(labels) != len(images):
                raise InputError(f"{path}: {split}_labels must hold one label for each of {split}_images")
        names = [f"{s}-{i}" for s, (images, _) in zip(splits, read) for i in range(len(images))]
        wide = [labels.reshape(len(labels), -1) for _, labels in read]
        return np.concatenate([i for i, _ in read]), np.concatenate(wide), names, splits
