"""What callers may have optimized, as the operator's file says: a name, and the arguments of `primum optimize`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from primum.config import explain, read_mapping
from primum.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_RESERVED = ("out", "json", "join", "plan", "progress", "level")
"""What the server gives itself, or the caller."""
_Value = str | bool | int | float


@dataclass(frozen=True)
class Study:
    """`arguments` of `primum optimize`, without --out and --level."""

    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Studies:
    """Studies by the name that callers give. `base`: the folder that relative paths are of; `out`: for the results."""

    base: Path
    out: Path
    by_name: Mapping[str, Study]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    out: Path
    studies: dict[str, dict[str, _Value | list[_Value]]] = Field(min_length=1)

    @field_validator("studies")
    @classmethod
    def _check(cls, studies: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, options in studies.items():
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r}: a name is of letters, digits, '_', '-' and '.', and names a folder")
            if given := [option for option in options if option.replace("-", "_") in _RESERVED]:
                raise ValueError(f"{name}: {given[0]} is not the file's to say")
        return studies


def read_studies(path: Path) -> Studies:
    """Read a YAML or TOML file: `out`, a folder, and `studies`, for each name the options of `primum optimize`.

    Options are written as on the command line, without dashes in front; true for a flag, a list for one that may be
    repeated. Relative paths are of the file's folder. Raises InputError.
    """
    try:
        found = _File.model_validate(read_mapping(path))
    except OSError as error:
        raise InputError(f"cannot read the studies {path}: {error.strerror}") from error
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error)}") from error
    base = path.resolve().parent
    studies = {name: Study(_arguments(options)) for name, options in found.studies.items()}
    return Studies(base, base / found.out, studies)


def _arguments(options: Mapping[str, Any]) -> tuple[str, ...]:
    given: list[str] = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            given += [flag] * value
            continue
        for one in value if isinstance(value, list) else [value]:
            # In one word: a value that begins with a dash is no option.
            given.append(f"{flag}={one}")
    return tuple(given)
