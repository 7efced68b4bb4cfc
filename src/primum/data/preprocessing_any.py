"""Whatever kind of preprocessing a file or manifest declares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Discriminator, Tag, ValidationError

from primum.config import explain, read_mapping
from primum.data.preprocessing import Preprocessing
from primum.data.preprocessing_array import ArrayPreprocessing
from primum.data.preprocessing_table import TablePreprocessing
from primum.errors import InputError

_KINDS: dict[str, type[Preprocessing | TablePreprocessing | ArrayPreprocessing]] = {
    "image": Preprocessing,
    "table": TablePreprocessing,
    "array": ArrayPreprocessing,
}


def _kind(raw: Any) -> str:
    return str(raw.get("kind", "image") if isinstance(raw, dict) else getattr(raw, "kind", "image"))


AnyPreprocessing = Annotated[
    Annotated[Preprocessing, Tag("image")]
    | Annotated[TablePreprocessing, Tag("table")]
    | Annotated[ArrayPreprocessing, Tag("array")],
    Discriminator(_kind, custom_error_type="kind", custom_error_message="kind must be image, table or array"),
]
"""Images where no `kind` is given."""


def read_preprocessing(path: Path) -> Preprocessing | TablePreprocessing | ArrayPreprocessing:
    """Read a YAML or TOML file. Raises InputError naming the offending key."""
    try:
        raw = read_mapping(path)
        kind = _KINDS.get(_kind(raw))
        if kind is None:
            raise InputError(f"{path}: kind must be {', '.join(_KINDS)}")
        return kind.model_validate(raw)
    except OSError as error:
        raise InputError(f"cannot read the preprocessing {path}: {error.strerror}") from error
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error)}") from error
