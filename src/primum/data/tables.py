"""Rows of a CSV (also gzipped) or Parquet file, as columns of text."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from primum.errors import InputError, MissingExtra, UnsafeInput

SUFFIXES = (".csv", ".csv.gz", ".parquet")
MAX_TEXT = 2**31
"""Characters of a CSV file that are read at most: a gzipped one can promise a thousand times its size."""
_MAX_LINE = 2**24
_SHOWN = 30


@dataclass(frozen=True)
class Table:
    """The columns that were asked for, as stripped text ("" where a cell is blank), aligned by row."""

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]
    """Line (CSV) or row number (Parquet) of each row."""
    counted: str = "line"

    def at(self, row: int) -> str:
        """Where a row stands in the file."""
        return f"{self.counted} {self.lines[row]}"

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lines)


def is_table(path: Path) -> bool:
    """Whether the name is that of a table."""
    return path.name.lower().endswith(SUFFIXES)


def read_table(path: Path, wanted: Sequence[str], hint: str = "") -> Table:
    """Read the wanted columns of every row.

    Raises InputError on a column that is missing or there twice (followed by `hint`), a row longer than the header,
    and a file that is empty or no table; MissingExtra for Parquet without pyarrow; UnsafeInput beyond MAX_TEXT
    characters.
    """
    if _is_parquet(path):
        return _parquet(path, wanted, hint)
    with _csv_rows(path) as reader:
        header = _header(reader)
        if not header:
            raise InputError(f"{path}: is empty: a table begins with the names of its columns")
        return _read(path, reader, header, _places(path, header, wanted, hint))


def columns_of(path: Path) -> list[str]:
    """The names of all columns. Raises as `read_table`."""
    if _is_parquet(path):
        with _parquet_file(path) as file:
            return list(file.schema_arrow.names)
    with _csv_rows(path) as reader:
        return _header(reader)


def _header(reader: Any) -> list[str]:
    """The first row that is not blank; [] where there is none."""
    return next((list(row) for row in reader if any(cell.strip() for cell in row)), [])


def _is_parquet(path: Path) -> bool:
    return path.name.lower().endswith(".parquet")


@contextmanager
def _csv_rows(path: Path) -> Iterator[Any]:
    try:
        with _open(path) as file:
            yield csv.reader(_lines(file, path), strict=True)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from error


def _read(path: Path, reader: Any, header: list[str], places: dict[str, int]) -> Table:
    columns: dict[str, list[str]] = {name: [] for name in places}
    seen: dict[str, str] = {}
    lines = []
    for row in reader:
        if not row:
            continue
        if any(cell.strip() for cell in row[len(header) :]):
            raise InputError(f"{path}: line {reader.line_num} has more cells than the header has columns")
        for name, place in places.items():
            cell = row[place].strip() if place < len(row) else ""
            columns[name].append(seen.setdefault(cell, cell))
        lines.append(reader.line_num)
    return Table(path, columns, lines)


def _places(path: Path, header: Sequence[str], wanted: Sequence[str], hint: str) -> dict[str, int]:
    for column in wanted:
        if column not in header:
            shown = ", ".join(header[:_SHOWN]) + (f" and {len(header) - _SHOWN} more" if len(header) > _SHOWN else "")
            raise InputError(f"{path}: no column {column!r}; it has {shown}{hint}")
        if list(header).count(column) > 1:
            raise InputError(f"{path}: the column {column!r} is there more than once")
    return {column: list(header).index(column) for column in wanted}


def _open(path: Path) -> TextIO:
    if path.suffix.lower() == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig", newline="")
    return path.open(newline="", encoding="utf-8-sig")


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    total = 0
    while line := file.readline(_MAX_LINE):
        total += len(line)
        if total > MAX_TEXT:
            raise UnsafeInput(f"{path}: holds more than {MAX_TEXT >> 30} GiB of text; it was not read to its end")
        yield line


def _parquet(path: Path, wanted: Sequence[str], hint: str) -> Table:
    with _parquet_file(path) as file:
        places = _places(path, file.schema_arrow.names, wanted, hint)
        read = file.read(columns=list(places))
        columns = {name: [_text(path, name, value) for value in read[name].to_pylist()] for name in places}
    return Table(path, columns, list(range(1, read.num_rows + 1)), "row")


@contextmanager
def _parquet_file(path: Path) -> Iterator[Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtra("a Parquet file", "tables") from error
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())[:200]})") from error


def _text(path: Path, name: str, value: Any) -> str:
    if isinstance(value, list | dict | bytes):
        raise InputError(f"{path}: column {name!r} holds {type(value).__name__} values; a cell must be one value")
    return "" if value is None or value != value else str(value).strip()
