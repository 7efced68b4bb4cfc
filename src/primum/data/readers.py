"""Data references: class folders (also zipped), a manifest of images, a table of cases, an .npz of arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from primum.data.arrays import read_arrays
from primum.data.evaluation import EvaluationSet, Exclusion
from primum.data.labels import Labels, demand_classes, read_labels
from primum.data.medmnist import is_medmnist, read_medmnist
from primum.data.options import DataOptions
from primum.data.preprocessing_any import AnyPreprocessing
from primum.data.preprocessing_table import TablePreprocessing
from primum.data.sources import FolderSource, Source, TableSource, ZipSource, by_order, zip_members
from primum.data.tables import Table, columns_of, is_table, read_table
from primum.errors import InputError
from primum.task import Task
from primum.validation.cases import demand_groups

__all__ = ["DataOptions", "read_data", "read_labelled"]

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".dcm"}
_ROWS_ARE_CASES = (
    "; where its rows are the cases, name the features with --preprocessing (kind: table) or --feature-columns"
)


def read_data(
    reference: str | Path, options: DataOptions | None = None, preprocessing: AnyPreprocessing | None = None
) -> EvaluationSet:
    """Read labelled cases. Raises InputError saying what is wrong and where; nothing is decoded yet.

    A table preprocessing names the feature columns of a CSV or Parquet file whose rows are the cases.
    """
    path, options = _asked(reference, options)
    features = _features(options, preprocessing)
    if features and not is_table(path):
        raise InputError(f"{path}: a table preprocessing needs a .csv, .csv.gz or .parquet file")
    if path.is_dir():
        names = sorted(str(p.relative_to(path).as_posix()) for p in path.rglob("*") if p.is_file())
        return _class_folders(names, str(path), lambda kept: FolderSource(path, kept), options)
    if is_table(path):
        return _table(path, features, options) if features else _manifest(path, options)
    if path.suffix.lower() == ".npz":
        return read_medmnist(path, options) if is_medmnist(path) else read_arrays(path, options)
    if path.suffix.lower() == ".zip":
        return _class_folders(sorted(zip_members(path)), str(path), lambda kept: ZipSource(path, kept), options)
    raise InputError(
        f"{path}: cannot tell what this is; give a folder of class folders (or a .zip of one), a .csv, .csv.gz or "
        ".parquet table, or an .npz"
    )


def read_labelled(reference: str | Path, options: DataOptions | None = None) -> EvaluationSet:
    """Cases of which no input will be asked for: as `read_data`, but a table needs neither features nor paths."""
    path, options = _asked(reference, options)
    plain = is_table(path) and not options.feature_columns and options.task is not Task.SEGMENTATION
    if plain and options.path_column not in columns_of(path):
        return _table(path, (), options)
    return read_data(path, options)


def _asked(reference: str | Path, options: DataOptions | None) -> tuple[Path, DataOptions]:
    """InputError where there is no such file, or a group column would print who the patients are."""
    path, options = Path(reference), options or DataOptions()
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    named = [name for name in (options.patient_column, options.id_column) if name in options.group_columns]
    if named:
        raise InputError(
            f"{path}: the group column {named[0]!r} names patients or cases: no group, and no name to print"
        )
    return path, options


def _features(options: DataOptions, preprocessing: AnyPreprocessing | None) -> tuple[str, ...]:
    if not isinstance(preprocessing, TablePreprocessing):
        return options.feature_columns
    if options.feature_columns:
        raise InputError("the preprocessing names the feature columns already: leave out --feature-columns")
    return preprocessing.names


def _class_folders(
    names: list[str], where: str, source: Callable[[tuple[str, ...]], Source], options: DataOptions
) -> EvaluationSet:
    if options.patient_column or options.group_columns or options.label_columns:
        raise InputError(f"{where}: patient, group and label columns need a .csv manifest")
    if options.task in (Task.MULTILABEL, Task.REGRESSION, Task.SEGMENTATION):
        raise InputError(f"{where}: class folders give classes; {options.task.value} needs a .csv manifest")
    images = [n for n in names if PurePosixPath(n).suffix.lower() in IMAGE_SUFFIXES and not _is_junk(n)]
    strange = sum(name != name.encode(errors="replace").decode() for name in images)
    if strange:
        raise InputError(f"{where}: {strange} of {len(images)} images have a name that is not UTF-8; rename them")
    in_classes = [n for n in images if len(PurePosixPath(n).parts) >= 2]
    folders = [PurePosixPath(n).parts[-2] for n in in_classes]
    found = set(folders)
    if len(found) < 2:
        what = "only one class folder" if found else f"no images ({', '.join(sorted(IMAGE_SUFFIXES))})"
        raise InputError(f"{where}: {what}; expected one folder of images for each of at least two classes")
    n = len(in_classes)
    labels = read_labels({"folder": folders}, where, options.task, options.classes, lambda row: by_order(row, n))
    demand_classes(labels, options.classes, None, where, "the name of class folders")
    notes = [f"{len(images) - len(in_classes)} image(s) outside class folders left out"] * (
        len(images) > len(in_classes)
    )
    return EvaluationSet(
        source=source(tuple(in_classes)),
        index=np.arange(len(in_classes)),
        labels=labels.values,
        classes=labels.classes,
        case_ids=np.array(in_classes, dtype=np.str_),
        patients=None,
        groups={},
        task=labels.task,
        notes=(*notes, *labels.notes),
    )


def _is_junk(name: str) -> bool:
    """Hidden files and folders (.ipynb_checkpoints, a Mac's ._copies) and what a Mac adds to a zip."""
    return any(
        part == "__MACOSX" or (part.startswith(".") and not part.startswith("..")) for part in PurePosixPath(name).parts
    )


def _manifest(path: Path, options: DataOptions) -> EvaluationSet:
    """Rows that name an image each."""
    keys = [options.path_column, *([options.id_column] if options.id_column else [])]
    table = read_table(path, [*keys, *_described(options)], _ROWS_ARE_CASES)
    names = table.columns[options.path_column]
    labels = _labels(table, options)
    kept = [names[row] for row in labels.rows]
    places = [table.at(int(row)) for row in labels.rows]
    _demand_once(path, kept, places)
    ids = _ids(table, options.id_column) if options.id_column else names
    root = options.image_root or path.parent
    cases = _assemble(table, ids, labels, _files(path, kept, root, "--image-root", places), options)
    if labels.task is not Task.SEGMENTATION:
        return cases
    masks = [table.columns[options.labels[0]][row] for row in labels.rows]
    return cases.with_masks(_files(path, masks, options.mask_root or root, "--mask-root", places, ", mask"))


def _demand_once(path: Path, names: Sequence[str], places: Sequence[str]) -> None:
    """InputError where two rows name one file; it says which rows, for a file may be called after its patient."""
    first: dict[str, str] = {}
    for name, place in zip(names, places):
        before = first.setdefault(str(PurePosixPath(name)), place)
        if before != place:
            raise InputError(f"{path}: {place} and {before} name one file")


def _table(path: Path, features: tuple[str, ...], options: DataOptions) -> EvaluationSet:
    """Rows that are the cases themselves."""
    if options.task is Task.SEGMENTATION:
        raise InputError(f"{path}: the rows of a table have no masks; segmentation needs images or arrays")
    told = [name for name in features if name in options.labels]
    if told:
        raise InputError(f"{path}: the column {told[0]!r} is a feature and the label; a model must not see the answer")
    keys = [options.id_column] if options.id_column else []
    table = read_table(path, list(dict.fromkeys([*keys, *features, *_described(options)])))
    labels = _labels(table, options)
    ids = _ids(table, options.id_column) if options.id_column else [f"row {row + 1}" for row in range(len(table))]
    columns = {name: [table.columns[name][row] for row in labels.rows] for name in features}
    source = TableSource(columns, [f"{path.name} {table.at(int(row))}" for row in labels.rows])
    return _assemble(table, ids, labels, source, options)


def _described(options: DataOptions) -> list[str]:
    """Columns besides the inputs."""
    wanted = [*options.labels, *options.group_columns]
    return [*wanted, *([options.patient_column] if options.patient_column else [])]


def _labels(table: Table, options: DataOptions) -> Labels:
    columns = {name: table.columns[name] for name in options.labels}
    if len(columns) < len(options.labels):
        raise InputError("a label column is named more than once")
    return read_labels(columns, str(table.path), options.task, options.classes, table.at)


def _ids(table: Table, column: str) -> list[str]:
    """The case ids. InputError on a line without one, and on one that another line has."""
    ids = table.columns[column]
    first: dict[str, int] = {}
    for row, name in enumerate(ids):
        if not name:
            raise InputError(f"{table.path}: {table.at(row)} has no {column}")
        if name in first:
            raise InputError(f"{table.path}: {table.at(row)} and {table.at(first[name])} have one {column}")
        first[name] = row
    return ids


def _assemble(table: Table, ids: list[str], labels: Labels, source: Source, options: DataOptions) -> EvaluationSet:
    """The labelled rows as cases; the others are listed as excluded."""
    labelled = {int(row) for row in labels.rows}
    patients = None
    if options.patient_column:
        cells = table.columns[options.patient_column]
        blank = next((row for row in labels.rows if not cells[row]), None)
        if blank is not None:
            # A case may be called after its patient.
            raise InputError(f"{table.path}: row {blank + 1} has no {options.patient_column}")
        patients = np.array([cells[row] for row in labels.rows], dtype=np.str_)
    groups = {
        name: np.array([table.columns[name][row] for row in labels.rows], dtype=np.str_)
        for name in options.group_columns
    }
    demand_groups(groups, patients, str(table.path))
    demand_classes(labels, options.classes, patients, str(table.path), f"the label column {options.labels[0]!r}")
    return EvaluationSet(
        source=source,
        index=np.arange(len(labels.rows)),
        labels=labels.values,
        classes=labels.classes,
        case_ids=np.array([ids[row] for row in labels.rows], dtype=np.str_),
        patients=patients,
        groups=groups,
        task=labels.task,
        excluded=tuple(Exclusion(ids[row], "no label") for row in range(len(table)) if row not in labelled),
        notes=labels.notes,
    )


def _files(path: Path, names: list[str], root: Path, flag: str, places: Sequence[str], what: str = "") -> Source:
    """The named files below a folder or in a zip; messages call each by the place that lists it."""
    called = tuple(f"{path.name} {place}{what}" for place in places)
    if root.is_file() and zipfile.is_zipfile(root):
        return ZipSource(root, tuple(names), called)
    if not root.is_dir():
        raise InputError(f"{root}: the image root is neither a folder nor a zip file")
    missing = [place for name, place in zip(names, places) if not (root / name).is_file()]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(names)} files are not below {root}, the first is that of {missing[0]} "
            f"(name their folder or zip file with {flag})"
        )
    return FolderSource(root, tuple(names), called)
