"""How to read a data reference: which columns (or keys of an .npz) hold what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from primum.task import Task


@dataclass(frozen=True)
class DataOptions:
    """Names are columns of a CSV or Parquet file, or keys of an .npz; folders of class folders have none."""

    label_column: str = "label"
    """Class, number (regression) or path of the mask (segmentation) of each case."""
    path_column: str = "path"
    """Path of each image; in an .npz the key of the inputs (default there: `inputs` or `x`)."""
    patient_column: str | None = None
    group_columns: tuple[str, ...] = ()
    image_root: Path | None = None
    """Folder or zip file that a manifest's paths are relative to; default: the manifest's own folder."""
    task: Task | None = None
    """None: two labels are BINARY, more are MULTICLASS, several label columns are MULTILABEL."""
    classes: tuple[str, ...] = ()
    """The order of the model's outputs (ORDINAL: from the lowest grade); empty: numbers by value, names by alphabet."""
    label_columns: tuple[str, ...] = ()
    """Several labels a case: one finding a column (MULTILABEL), or one number a column (REGRESSION)."""
    feature_columns: tuple[str, ...] = ()
    """The rows are the cases, and these columns their numbers; a preprocessing of kind `table` names them itself."""
    id_column: str | None = None
    """Name of each case; default: the path of its image, else the number of its row."""
    mask_root: Path | None = None
    """Folder or zip file that mask paths are relative to; default: the image root."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The label columns, one or several."""
        return self.label_columns or (self.label_column,)
