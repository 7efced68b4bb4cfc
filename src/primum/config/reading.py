"""Configuration files, and validation errors in one line."""

from __future__ import annotations

import tomllib
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


def explain(error: ValidationError) -> str:
    """A pydantic error as one line: where, what."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "value"
    return f"{where}: {first['msg']}"
