"""The whole result as plain data."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from primum.study.deliveries import delivered_rows
from primum.study.result import StudyResult

FORMAT = "primum-report/1"


def as_data(result: StudyResult) -> dict[str, Any]:
    """Everything the result holds, and the three figures it derives; NaN stays NaN (`write_json` makes it null)."""
    timed = result.winner.key in result.final
    derived = {
        "outcome": result.outcome.value,
        "speedup": result.speedup if timed else None,
        "size_ratio": result.size_ratio,
    }
    # Each artifact's own report holds its claim whole.
    rows = plain(delivered_rows(result)) if result.runtime else []
    told = plain(replace(result, claims=()))
    return {"format": FORMAT, **derived, **told, "claims": rows}


def plain(value: Any) -> Any:
    """`value` as dictionaries, lists, texts and numbers."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain(v) for v in value)
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value) if isinstance(value, Path) else value
