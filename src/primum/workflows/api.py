"""The main job as a Python call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from primum.config import OptimizationConfig
from primum.data.preprocessing import Preprocessing
from primum.data.readers import DataOptions
from primum.models.reference import parse_model
from primum.models.signature import Activation
from primum.progress import Progress
from primum.study.recipe import Recipe
from primum.workflows.optimize import Delivery
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
    preprocessing: Preprocessing | str | Path | None = None,
    label_column: str = "label",
    path_column: str = "path",
    patient_column: str | None = None,
    group_columns: Sequence[str] = (),
    image_root: str | Path | None = None,
    positive_class: str | None = None,
    activation: str | None = None,
    recipes: Sequence[Recipe] = (),
    skip_bad_files: bool = False,
    plain_case_ids: bool = False,
    independent: bool = False,
    progress: Progress | None = None,
) -> Delivery:
    """Find the fastest artifact that is proven to be no worse than `model` on `data`, and seal it in `out`/artifact.

    `model` is a torch module, "module:factory" (with `checkpoint`), or an .onnx file; `data` a folder of class
    folders, a CSV manifest or a MedMNIST .npz. Running again with the same `out` goes on where it was.
    Raises InputError, UnsafeInput, StorageError.
    """
    if preprocessing is not None and not isinstance(preprocessing, Preprocessing):
        preprocessing = Preprocessing.from_file(Path(preprocessing))
    request = OptimizeRequest(
        model=parse_model(model, checkpoint),
        data=Path(data),
        out=Path(out),
        train_data=Path(train_data) if train_data else None,
        options=DataOptions(
            label_column,
            path_column,
            patient_column,
            tuple(group_columns),
            Path(image_root) if image_root else None,
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
