"""Data references: a folder of class folders (also zipped), a CSV manifest, a MedMNIST .npz."""

from __future__ import annotations

import csv
import re
import tokenize
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.data.evaluation import EvaluationSet, Exclusion
from primum.data.sources import ZIP_ERRORS, ArraySource, FolderSource, Source, ZipSource, zip_members
from primum.errors import InputError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class DataOptions:
    """How to read a data reference. Column names concern manifests only."""

    label_column: str = "label"
    path_column: str = "path"
    patient_column: str | None = None
    group_columns: tuple[str, ...] = ()
    image_root: Path | None = None
    """Folder or zip file that a manifest's paths are relative to; default: the manifest's own folder."""


def read_data(reference: str | Path, options: DataOptions | None = None) -> EvaluationSet:
    """Read labelled cases. Raises InputError saying what is wrong and where; nothing is decoded yet."""
    path, options = Path(reference), options or DataOptions()
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        names = sorted(str(p.relative_to(path).as_posix()) for p in path.rglob("*") if p.is_file())
        return _class_folders(names, str(path), lambda kept: FolderSource(path, kept), options)
    readers = {".csv": _manifest, ".npz": _medmnist, ".zip": _zip}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path}: cannot tell what this is; give a folder of class folders (or a .zip of one), a .csv manifest "
            "or a MedMNIST .npz"
        )
    return reader(path, options)


def _zip(path: Path, options: DataOptions) -> EvaluationSet:
    return _class_folders(sorted(zip_members(path)), str(path), lambda kept: ZipSource(path, kept), options)


def _class_folders(
    names: list[str], where: str, source: Callable[[tuple[str, ...]], Source], options: DataOptions
) -> EvaluationSet:
    if options.patient_column or options.group_columns:
        raise InputError(f"{where}: patient and group columns need a .csv manifest")
    images = [n for n in names if PurePosixPath(n).suffix.lower() in IMAGE_SUFFIXES and not _is_junk(n)]
    for name in images:
        if name != name.encode(errors="replace").decode():
            raise InputError(f"{where}: the file name {name!a} is not UTF-8; rename it")
    in_classes = [n for n in images if len(PurePosixPath(n).parts) >= 2]
    labels = [PurePosixPath(n).parts[-2] for n in in_classes]
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2:
        found = f"only the class {classes[0]!r}" if classes else f"no images ({', '.join(sorted(IMAGE_SUFFIXES))})"
        raise InputError(f"{where}: {found}; expected one folder of images for each of at least two classes")
    notes = [f"{len(images) - len(in_classes)} image(s) outside class folders left out"] * (
        len(images) > len(in_classes)
    )
    return EvaluationSet(
        source=source(tuple(in_classes)),
        index=np.arange(len(in_classes)),
        labels=np.array([classes.index(x) for x in labels], np.int64),
        classes=classes,
        case_ids=np.array(in_classes, dtype=np.str_),
        patients=None,
        groups={},
        notes=tuple(notes),
    )


def _is_junk(name: str) -> bool:
    """Hidden files and folders (.ipynb_checkpoints, a Mac's ._copies) and what a Mac adds to a zip."""
    return any(
        part == "__MACOSX" or (part.startswith(".") and not part.startswith("..")) for part in PurePosixPath(name).parts
    )


def _manifest(path: Path, options: DataOptions) -> EvaluationSet:
    rows, columns = _rows(path)
    wanted = [options.path_column, options.label_column, *options.group_columns]
    wanted += [options.patient_column] if options.patient_column else []
    for column in wanted:
        if column not in columns:
            raise InputError(f"{path}: no column {column!r}; it has {', '.join(columns)}")
        if columns.count(column) > 1:
            raise InputError(f"{path}: the column {column!r} is there more than once")
    labelled = [r for r in rows if r[options.label_column].strip()]
    excluded = tuple(Exclusion(r[options.path_column], "no label") for r in rows if not r[options.label_column].strip())
    patients = None
    if options.patient_column:
        patients = np.array([r[options.patient_column].strip() for r in labelled], dtype=np.str_)
        if (patients == "").any():
            line = int(np.flatnonzero(patients == "")[0])
            raise InputError(f"{path}: case {labelled[line][options.path_column]} has no {options.patient_column}")
    names = [r[options.path_column].strip() for r in labelled]
    name, times = Counter(str(PurePosixPath(n)) for n in names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise InputError(f"{path}: {name} is listed more than once")
    labels = [r[options.label_column].strip() for r in labelled]
    classes = _class_names(labels)
    if len(classes) < 2:
        raise InputError(f"{path}: column {options.label_column!r} holds {len(classes)} class(es); two are needed")
    return EvaluationSet(
        source=_manifest_source(path, names, options),
        index=np.arange(len(names)),
        labels=np.array([classes.index(x) for x in labels], np.int64),
        classes=classes,
        case_ids=np.array(names, dtype=np.str_),
        patients=patients,
        groups={c: np.array([r[c].strip() for r in labelled], dtype=np.str_) for c in options.group_columns},
        excluded=excluded,
    )


def _rows(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="", strict=True)
            rows = []
            for row in reader:
                if any(cell.strip() for cell in row.pop(None, ())):
                    raise InputError(f"{path}: line {reader.line_num} has more cells than the header has columns")
                rows.append({k: v or "" for k, v in row.items()})
            return rows, list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from error


def _class_names(labels: list[str]) -> tuple[str, ...]:
    """Distinct labels in the order of a model's outputs: numbers by value, names by alphabet."""
    distinct = set(labels)
    if all(re.fullmatch("-?[0-9]+", x) for x in distinct):
        return tuple(sorted(distinct, key=lambda x: (int(x), x)))
    return tuple(sorted(distinct))


def _manifest_source(path: Path, names: list[str], options: DataOptions) -> Source:
    root = options.image_root or path.parent
    if root.is_file() and zipfile.is_zipfile(root):
        return ZipSource(root, tuple(names))
    if not root.is_dir():
        raise InputError(f"{root}: the image root is neither a folder nor a zip file")
    missing = [n for n in names if not (root / n).is_file()]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(names)} files are not below {root}, the first is {missing[0]} "
            "(name their folder or zip file with --image-root)"
        )
    return FolderSource(root, tuple(names))


def _medmnist(path: Path, options: DataOptions) -> EvaluationSet:
    if options.patient_column or options.group_columns:
        raise InputError(f"{path}: patient and group columns need a .csv manifest")
    images, labels, names, splits = _arrays(path)
    if images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,), (3,)) or images.dtype != np.uint8:
        raise InputError(f"{path}: expected uint8 images (N, H, W[, 3]), found {images.shape} of {images.dtype}")
    whole = labels.dtype.kind in "biu" or (labels.dtype.kind == "f" and bool((labels == np.floor(labels)).all()))
    if labels.ndim != 1 or not whole:
        raise InputError(f"{path}: expected one whole number as the label of each image")
    values = [str(int(x)) for x in labels]
    classes = _class_names(values)
    if len(classes) < 2:
        raise InputError(f"{path}: only one class; two are needed")
    return EvaluationSet(
        source=ArraySource(images),
        index=np.arange(len(images)),
        labels=np.array([classes.index(x) for x in values], np.int64),
        classes=classes,
        case_ids=np.array(names, dtype=np.str_),
        patients=None,
        groups={},
        notes=(f"splits read: {', '.join(splits)}",),
    )


def _arrays(path: Path) -> tuple[NDArray[Any], NDArray[Any], list[str], list[str]]:
    """Images, labels, names and splits of a MedMNIST .npz, the splits one after the other."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            splits = [s for s in ("train", "val", "test") if f"{s}_images" in arrays and f"{s}_labels" in arrays]
            if not splits:
                raise InputError(f"{path}: holds no <split>_images with <split>_labels (MedMNIST's names)")
            read = [(arrays[f"{s}_images"], arrays[f"{s}_labels"]) for s in splits]
            for split, (images, labels) in zip(splits, read):
                if images.ndim == 0 or labels.shape not in ((len(images),), (len(images), 1)):
                    raise InputError(f"{path}: {split}_labels must hold one label for each of {split}_images")
            names = [f"{s}-{i}" for s, (images, _) in zip(splits, read) for i in range(len(images))]
            return np.concatenate([i for i, _ in read]), np.concatenate([x.ravel() for _, x in read]), names, splits
    # SyntaxError, TokenError: numpy evaluates an array's header as a literal. TypeError: a lone .npy is no archive.
    except (*ZIP_ERRORS, MemoryError, TypeError, SyntaxError, tokenize.TokenError) as error:
        raise InputError(f"{path}: not a MedMNIST .npz that can be read safely ({error})") from error
