"""Declarative preprocessing of table rows: numbers standardised, levels one-hot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from math import isfinite
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from primum.errors import InputError

_LARGEST = float(np.finfo(np.float32).max)


class NumericColumn(BaseModel):
    """A number: (x - mean) / std. A blank becomes `missing` (in the column's own units), or is refused where None."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    name: str
    mean: float = 0.0
    std: float = Field(1.0, gt=0)
    missing: float | None = None
    indicator: bool = False
    """A second feature, 1 where the cell is blank and 0 elsewhere."""

    @model_validator(mode="after")
    def _indicates_something(self) -> NumericColumn:
        if self.indicator and self.missing is None:
            raise ValueError("indicator needs missing, the number that a blank becomes")
        return self

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that the column becomes."""
        return (self.name, f"{self.name} missing") if self.indicator else (self.name,)

    def encode(self, cell: Any) -> tuple[float, ...]:
        """One cell to its features. InputError naming the column, never the value."""
        text = as_cell(cell)
        if not text and self.missing is None:
            raise InputError(f"column {self.name!r} is blank, and the preprocessing gives no value for missing ones")
        value = self.missing if not text else _number(text, self.name)
        assert value is not None
        return ((value - self.mean) / self.std, *([float(not text)] if self.indicator else []))

    def draw(self, generator: np.random.Generator) -> list[float]:
        """Features of an invented cell: within three standard deviations."""
        return [float(generator.uniform(-3.0, 3.0)), *([float(generator.random() < 0.2)] if self.indicator else [])]


class CategoricalColumn(BaseModel):
    """One of several levels, one-hot in their order. A level that is not listed is refused, or all zeros."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    levels: tuple[str, ...] = Field(min_length=1)
    unknown: Literal["refuse", "zeros"] = "refuse"

    @field_validator("levels", mode="before")
    @classmethod
    def _levels_are_text(cls, raw: Any) -> Any:
        if isinstance(raw, list | tuple):
            if any(isinstance(level, bool) for level in raw):
                raise ValueError("YAML reads Yes, No, On and Off as true and false: put quotes around levels")
            return tuple(str(level).strip() if isinstance(level, str | int | float) else level for level in raw)
        return raw

    @field_validator("levels")
    @classmethod
    def _levels_once(cls, levels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(levels)) < len(levels):
            raise ValueError("a level is listed more than once")
        return levels

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that the column becomes."""
        return tuple(f"{self.name}={level}" for level in self.levels)

    @cached_property
    def _one_hot(self) -> dict[str, tuple[float, ...]]:
        return {level: tuple(float(level == other) for other in self.levels) for level in self.levels}

    def encode(self, cell: Any) -> tuple[float, ...]:
        """One cell to its features. InputError naming the column, never the value."""
        found = self._one_hot.get(as_cell(cell))
        if found is not None:
            return found
        if self.unknown == "refuse":
            raise InputError(f"column {self.name!r} holds a level that the preprocessing does not list")
        return (0.0,) * len(self.levels)

    def draw(self, generator: np.random.Generator) -> list[float]:
        """Features of an invented cell: one of the levels."""
        return list(np.eye(len(self.levels))[generator.integers(len(self.levels))])


def _kind(raw: Any) -> str:
    categorical = "levels" in raw if isinstance(raw, dict) else isinstance(raw, CategoricalColumn)
    return "levels" if categorical else "number"


Column = Annotated[
    Annotated[NumericColumn, Tag("number")] | Annotated[CategoricalColumn, Tag("levels")], Discriminator(_kind)
]


class TablePreprocessing(BaseModel):
    """How a row becomes the network's input, float32 (F,): the features of each column in turn."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["table"] = "table"
    columns: tuple[Column, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _columns_once(self) -> TablePreprocessing:
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice:
            raise ValueError(f"the column {twice[0]!r} is listed more than once")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that a row must have."""
        return tuple(column.name for column in self.columns)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the F features."""
        return tuple(feature for column in self.columns for feature in column.features)

    def __call__(self, row: Mapping[str, Any]) -> NDArray[np.float32]:
        """One row (column -> cell; further columns are ignored) to float32 (F,). A blank is "", None or NaN.

        InputError naming the column, never the value, on a column that is missing, a cell that is no finite number,
        an unknown level, and a blank that nothing stands for.
        """
        if not isinstance(row, Mapping):
            raise InputError(f"a row of a table maps columns to cells, got {type(row).__name__}")
        values: list[float] = []
        for column in self.columns:
            if column.name not in row:
                raise InputError(f"a row has no column {column.name!r}")
            values += column.encode(row[column.name])
        wide = np.array(values, dtype=np.float64)
        beyond = np.flatnonzero(np.abs(wide) > _LARGEST)
        if len(beyond):
            raise InputError(f"column {self.features[beyond[0]]!r} holds a number beyond what float32 can hold")
        return wide.astype(np.float32)

    def synthetic(self, count: int, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
        """Network inputs that are no patient's, float32 (count, F); `shape` is (F,)."""
        generator = np.random.default_rng(seed)
        rows = [[value for column in self.columns for value in column.draw(generator)] for _ in range(count)]
        return np.array(rows, dtype=np.float32).reshape(count, *shape)

    @classmethod
    def fit(
        cls,
        rows: Iterable[Mapping[str, Any]],
        numeric: Sequence[str] = (),
        categorical: Sequence[str] = (),
        indicator: bool = False,
    ) -> TablePreprocessing:
        """Means, standard deviations and levels of training rows; the mean stands for blanks where there are some.

        `indicator` marks the blanks of such columns. InputError where a column is missing, wholly blank, or not
        numeric.
        """
        rows = list(rows)
        absent = [name for name in (*numeric, *categorical) if not rows or name not in rows[0]]
        if absent:
            raise InputError(f"the training rows have no column {absent[0]!r}")
        columns: list[NumericColumn | CategoricalColumn] = [_fit_numbers(rows, name, indicator) for name in numeric]
        for name in categorical:
            levels = sorted({as_cell(row[name]) for row in rows})
            columns.append(CategoricalColumn(name=name, levels=tuple(levels)))
        return cls(columns=tuple(columns))


def as_cell(value: Any) -> str:
    """A cell as stripped text; None and NaN are blank."""
    return "" if value is None or value != value else str(value).strip()


def _fit_numbers(rows: Sequence[Mapping[str, Any]], name: str, indicator: bool) -> NumericColumn:
    cells = [as_cell(row[name]) for row in rows]
    values = np.array([_number(cell, name) for cell in cells if cell])
    if not len(values):
        raise InputError(f"column {name!r} is blank in every training row")
    mean, std = float(values.mean()), float(values.std())
    blanks = len(values) < len(cells)
    return NumericColumn(
        name=name,
        mean=mean,
        std=std if std > 0 else 1.0,
        missing=mean if blanks else None,
        indicator=indicator and blanks,
    )


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or "_" in text:
        raise InputError(f"column {name!r} holds a cell that is no finite number")
    return value
