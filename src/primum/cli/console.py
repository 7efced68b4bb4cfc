"""What the terminal shows: progress with time left, tables, one JSON object for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from math import isfinite
from types import TracebackType
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from primum.files import finite

_GAPS = (2, 1)
"""Blanks between the columns of a table: two where words stay whole then, else one."""


class Terminal:
    """A progress listener on stderr; stdout stays free for results."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._task: Any = None

    def __enter__(self) -> Terminal:
        """Start drawing (only where stderr is a terminal)."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        self._bars.stop()

    def stage(self, name: str, total: int | None = None) -> None:
        """A new bar; without a terminal, one line."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(name, total=total)
        if not self.console.is_terminal:
            self.console.print(name, markup=False)

    def advance(self, done: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bars.update(self._task, completed=done)

    def say(self, text: str) -> None:
        """A line above the bar."""
        self.console.print(text, markup=False, soft_wrap=True)


def times(value: float, more: str, less: str, same: str) -> str:
    """A ratio in the direction that it has: "3.90x smaller", "1.02x larger"."""
    if not isfinite(value) or value <= 0:
        return f"not known whether {more}"
    said = f"{value if value > 1 else 1 / value:.2f}x"
    return same if said == "1.00x" else f"{said} {more if value > 1 else less}"


def print_json(value: Any) -> None:
    """One JSON object on stdout; NaN becomes null."""
    sys.stdout.write(json.dumps(finite(value), indent=1, allow_nan=False) + "\n")


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout; the first column is text, the others are figures."""
    console = Console(highlight=False, markup=False)
    cells = [[column, *(row[i] for row in rows)] for i, column in enumerate(columns)]
    words = [max((cell_len(word) for cell in own for word in cell.split()), default=1) for own in cells]
    # A verdict is in capitals: NON_INFERIOR in two halves could be read as INFERIOR.
    verdicts = [
        max((cell_len(word) for cell in own for word in cell.split() if word.isupper()), default=0) for own in cells
    ]
    wholes = [max(1, *(cell_len(cell) for cell in own)) for own in cells]
    rooms = {gap: console.width - gap * (len(columns) - 1) for gap in _GAPS}
    gap = next((gap for gap in _GAPS if sum(words) <= rooms[gap]), _GAPS[-1])
    widths = fitted(words, wholes, rooms[gap], verdicts)
    table = Table(
        title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, 1), collapse_padding=gap == 1
    )
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold", width=widths[i])
    for row in rows:
        table.add_row(*row)
    console.print(table)


def fitted(words: list[int], wholes: list[int], room: int, kept: list[int] | None = None) -> list[int]:
    """Widths of columns in `room`, from the lengths of their longest words and longest cells.

    Cells stay whole where they can; else words do; else the longest words give way, to one letter at least, but none
    to less than `kept` of its column.
    """
    least_of = kept or [0] * len(words)

    def of_words(most: int) -> list[int]:
        return [max(min(word, most), keep) for word, keep in zip(words, least_of)]

    least = of_words(_most(of_words, max(words), room))

    def of_cells(most: int) -> list[int]:
        return [max(low, min(whole, most)) for low, whole in zip(least, wholes)]

    return of_cells(_most(of_cells, max(wholes), room))


def _most(widths: Callable[[int], list[int]], longest: int, room: int) -> int:
    """The largest limit under which the widths fit; 1 where none does."""
    return next((most for most in range(longest, 1, -1) if sum(widths(most)) <= room), 1)
