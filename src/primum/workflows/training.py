"""Training data: refused where they share a patient with the judging data, then preprocessed for techniques."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from primum.data.evaluation import EvaluationSet, Materialized, materialize, materialize_masks
from primum.data.preprocessing_any import AnyPreprocessing
from primum.data.pseudonym import local_key, pseudonyms
from primum.data.readers import read_data
from primum.errors import InputError
from primum.models.signature import Signature
from primum.progress import Progress
from primum.study.stages import TrainingFiles
from primum.task import Task
from primum.workflows.request import OptimizeRequest


def check_training(request: OptimizeRequest, data: Materialized) -> tuple[str, ...]:
    """Notes on copies; InputError where patients (or, without patients, identical inputs) are in both."""
    assert request.train_data is not None
    train = read_data(request.train_data, request.options, request.preprocessing)
    if train.patients is not None and data.cases.patients is not None:
        shared = sorted(set(train.patients) & set(data.cases.patients))
        if shared:
            raise InputError(
                f"{len(shared)} patient(s) are in both {request.train_data} and {request.data}, "
                "a model must be judged on patients that it was not trained on"
            )
    seen = _contents(train, request.skip_bad_files)
    copies = sum(d in seen for d in data.digests)
    if copies and data.cases.patients is None:
        raise InputError(f"{copies} file(s) of {request.data} are also in {request.train_data}; judge on other cases")
    return (f"{copies} judged case(s) have the content of a training case of another patient",) if copies else ()


def _contents(train: EvaluationSet, skip_bad: bool) -> set[str]:
    """Digests of the training cases; what cannot be read is excluded later, or stops here."""
    seen = set()
    for row in range(len(train)):
        try:
            seen.add(train.digest(row))
        except InputError:
            if not skip_bad:
                raise
    return seen


def prepare_training(
    request: OptimizeRequest, preprocessing: AnyPreprocessing, signature: Signature, work: Path, progress: Progress
) -> TrainingFiles:
    """Preprocess the training cases as the judging ones are. InputError on anything that does not fit the model."""
    assert request.train_data is not None
    cases = read_data(request.train_data, request.options, preprocessing)
    progress.stage("Reading and preprocessing the training data", len(cases))
    report = lambda done, _: progress.advance(done)  # noqa: E731
    data = materialize(cases, preprocessing, work / "train" / "inputs.npy", request.skip_bad_files, report)
    shape = tuple(data.inputs.shape[1:])
    if shape != tuple(signature.input_shape):
        raise InputError(
            f"{request.train_data}: cases are {shape} after preprocessing, the model takes {signature.input_shape}"
        )
    if signature.task is Task.SEGMENTATION:
        data = materialize_masks(data, preprocessing, signature.spatial, len(signature.classes))
    labels = (
        data.masks if signature.task is Task.SEGMENTATION else _labels(data.cases, signature, str(request.train_data))
    )
    units = data.cases.patients if data.cases.patients is not None else np.array(data.digests, dtype=np.str_)
    files = TrainingFiles(data.path, data.path.with_name("labels.npy"), data.path.with_name("units.npy"), "")
    np.save(files.labels, labels)
    # Who a patient is, no training needs to know.
    np.save(files.units, pseudonyms(np.asarray(units, dtype=np.str_), local_key()))
    content = hashlib.sha256("".join(data.digests).encode() + np.ascontiguousarray(labels).tobytes())
    return TrainingFiles(files.inputs, files.labels, files.units, content.hexdigest())


def _labels(cases: EvaluationSet, signature: Signature, name: str) -> NDArray[np.generic]:
    """Labels in the order of the model's classes, whatever order these data give them."""
    if signature.task is Task.REGRESSION or cases.classes == signature.classes:
        return cases.labels
    unknown = set(cases.classes) - set(signature.classes)
    if unknown:
        # How many, not which: a column named by mistake may hold patients' names.
        raise InputError(
            f"{name}: {len(unknown)} of {len(cases.classes)} labels are none that the model gives: "
            f"{', '.join(signature.classes)}"
        )
    if signature.task is Task.MULTILABEL:
        raise InputError(f"{name}: its label columns are not those of the judging data")
    places = np.array([signature.classes.index(c) for c in cases.classes], dtype=np.int64)
    return np.asarray(places[cases.labels])
