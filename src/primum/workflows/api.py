"""The main job as a Python call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from primum.config import OptimizationConfig
from primum.data.options import DataOptions
from primum.data.preprocessing_any import AnyPreprocessing, read_preprocessing
from primum.errors import InputError
from primum.models.reference import ModelReference, parse_model
from primum.models.signature import Activation
from primum.progress import Progress
from primum.study.recipe import Recipe
from primum.task import Task
from primum.workflows.delivery import Delivery
from primum.workflows.optimize import optimize as run
from primum.workflows.request import OptimizeRequest


def optimize(
    model: Any,
    data: str | Path,
    out: str | Path,
    *,
    checkpoint: str | Path | None = None,
    train_data: str | Path | None = None,
    config: OptimizationConfig | None = None,
    preprocessing: AnyPreprocessing | str | Path | None = None,
    task: Task | str | None = None,
    classes: Sequence[str] = (),
    label_column: str = "label",
    label_columns: Sequence[str] = (),
    path_column: str = "path",
    feature_columns: Sequence[str] = (),
    id_column: str | None = None,
    patient_column: str | None = None,
    group_columns: Sequence[str] = (),
    image_root: str | Path | None = None,
    mask_root: str | Path | None = None,
    positive_class: str | None = None,
    activation: str | None = None,
    recipes: Sequence[Recipe] = (),
    skip_bad_files: bool = False,
    plain_case_ids: bool = False,
    independent: bool = False,
    progress: Progress | None = None,
) -> Delivery:
    """Find the fastest artifact that is proven to be no worse than `model` on `data`, and seal it in `out`/artifact.

    `model` is a torch module, "module:factory" (with `checkpoint`), an .onnx or a TorchScript file; `data` a folder of
    class folders, a CSV manifest of images, a table whose rows are the cases, or an .npz; `task` is told from the
    labels where it is a classification. Running again with the same `out` goes on where it was.
    Raises InputError, UnsafeInput, StorageError.
    """
    if isinstance(preprocessing, str | Path):
        preprocessing = read_preprocessing(Path(preprocessing))
    request = OptimizeRequest(
        model=_sendable(parse_model(model, checkpoint)),
        data=Path(data),
        out=Path(out),
        train_data=Path(train_data) if train_data else None,
        options=DataOptions(
            label_column=label_column,
            path_column=path_column,
            patient_column=patient_column,
            group_columns=tuple(group_columns),
            image_root=Path(image_root) if image_root else None,
            task=Task(task) if task else None,
            classes=tuple(classes),
            label_columns=tuple(label_columns),
            feature_columns=tuple(feature_columns),
            id_column=id_column,
            mask_root=Path(mask_root) if mask_root else None,
        ),
        preprocessing=preprocessing,
        positive_class=positive_class,
        activation=Activation(activation) if activation else None,
        config=config or OptimizationConfig(),
        recipes=tuple(recipes),
        skip_bad_files=skip_bad_files,
        plain_case_ids=plain_case_ids,
        independent=independent,
    )
    return run(request, progress)


def _sendable(reference: ModelReference) -> ModelReference:
    """InputError for a live script module, which cannot be handed to the processes that candidates run in."""
    if reference.module is not None:
        import torch

        if isinstance(reference.module, torch.jit.ScriptModule):
            raise InputError(
                "a TorchScript module cannot be handed to other processes: save it (torch.jit.save(model, 'model.ts')) "
                "and give the file"
            )
    return reference
