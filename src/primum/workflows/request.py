"""What `optimize` is asked, in one object that the command line and the Python call share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from primum.config import OptimizationConfig
from primum.data.options import DataOptions
from primum.data.preprocessing_any import AnyPreprocessing
from primum.models.reference import ModelReference
from primum.models.signature import Activation
from primum.study.recipe import Recipe


@dataclass(frozen=True)
class OptimizeRequest:
    """`train_data` is only checked to share no patient with `data`; nothing here trains."""

    model: ModelReference
    data: Path
    out: Path
    train_data: Path | None = None
    options: DataOptions = field(default_factory=DataOptions)
    preprocessing: AnyPreprocessing | None = None
    positive_class: str | None = None
    activation: Activation | None = None
    config: OptimizationConfig = field(default_factory=OptimizationConfig)
    recipes: tuple[Recipe, ...] = ()
    """Tried beside the planner's."""
    skip_bad_files: bool = False
    plain_case_ids: bool = False
    independent: bool = False
    """Declared by the user: no patient has two cases."""
    synthetic: bool = False
    """The data are made up; every surface says so."""
    trial_timeout_s: float = 900.0
