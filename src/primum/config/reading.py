"""Configuration files, and validation errors in one line."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from primum.errors import InputError


def read_mapping(path: Path) -> Any:
    """What a YAML or TOML file holds; an empty file is an empty mapping. Raises InputError where it is neither."""
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    # Besides YAMLError, PyYAML lets the ValueError of a date or number through, and the RecursionError of deep nesting.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid: {' '.join(str(error).split())}") from error
    return {} if raw is None else raw


def explain(error: ValidationError, known: Iterable[str] = ()) -> str:
    """A pydantic error as one line: where, what; for a name that is none, the nearest of those `known`."""
    found, names = error.errors(), [*known]
    # A mistyped name of a setting that is needed makes two errors, of which it explains the other.
    first = next((e for e in found if names and e["type"] == "extra_forbidden"), found[0])
    where = ".".join(str(part) for part in first["loc"]) or "value"
    hint = nearest(str(first["loc"][-1]), names) if first["type"] == "extra_forbidden" else ""
    return f"{where}: {first['msg']}{hint}"


def nearest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean X?" of the nearest known name, or nothing."""
    found = difflib.get_close_matches(name, [*known], n=1)
    return f"; did you mean {found[0]}?" if found else ""
