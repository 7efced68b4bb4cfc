"""What a page is made of, before anybody decides whether it becomes HTML or text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from primum.reporting.numbers import clean

FOLDED = 24
"""Rows beyond which a table that is not the point of its section is folded."""


@dataclass(frozen=True)
class Cell:
    """One cell. `tone` is "", good, bad, warn or muted, and never says what the words do not say; `note` is small."""

    text: str
    tone: str = ""
    note: str = ""


@dataclass(frozen=True)
class Column:
    """One column; numbers are set right-aligned and never broken."""

    title: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """The first cell of a row names the row. `wide` asks for the long side of the paper; `fold` is what stands on the
    page in place of a long table until it is unfolded, and on paper above it."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    wide: bool = False
    fold: str = ""


@dataclass(frozen=True)
class Paragraph:
    """A sentence or some."""

    kind: ClassVar[str] = "paragraph"
    text: str
    tone: str = ""


@dataclass(frozen=True)
class Bullets:
    """A list; `ordered` where the order means something."""

    kind: ClassVar[str] = "bullets"
    items: tuple[str, ...]
    ordered: bool = False


@dataclass(frozen=True)
class Facts:
    """Terms and what they are."""

    kind: ClassVar[str] = "facts"
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Heading:
    """A heading below the section's."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Figure:
    """A drawing, made only where drawings can be shown. `label` tells in words what it shows; `narrow` keeps a single
    square one from filling the page."""

    kind: ClassVar[str] = "figure"
    name: str
    label: str
    caption: str
    draw: Callable[[], str]
    narrow: bool = False


@dataclass(frozen=True)
class Side:
    """Blocks that stand side by side where there is room."""

    kind: ClassVar[str] = "side"
    blocks: tuple[Block, ...]


Block = Table | Paragraph | Bullets | Facts | Heading | Figure | Side


@dataclass(frozen=True)
class Section:
    """One numbered part of the page."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Banner:
    """Something that no reader may miss."""

    tone: str
    word: str
    text: str


@dataclass(frozen=True)
class Card:
    """One key figure."""

    title: str
    figure: str
    detail: str
    tone: str = ""


@dataclass(frozen=True)
class Headline:
    """The verdict in plain words."""

    tone: str
    glyph: str
    title: str
    lead: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """The whole report."""

    name: str
    made: str
    banners: tuple[Banner, ...]
    headline: Headline
    cards: tuple[Card, ...]
    sections: tuple[Section, ...]
    closing: tuple[str, ...]
    signature: tuple[str, ...]


def columns(*titles: str) -> tuple[Column, ...]:
    """Columns by title; one that starts with "#" holds numbers, and every title is made harmless."""
    return tuple(Column(clean(t.removeprefix("#")), t.startswith("#")) for t in titles)


def row(*cells: str | Cell) -> tuple[Cell, ...]:
    """A row, every text in it made harmless."""
    made = (Cell(c) if isinstance(c, str) else c for c in cells)
    return tuple(Cell(clean(c.text), c.tone, clean(c.note)) for c in made)


def long_table(table: Table, what: str) -> Table:
    """`table`, folded where it is long; `what` names its rows ("classes and endpoints")."""
    return replace(table, fold=f"{what}: {len(table.rows)} rows") if len(table.rows) > FOLDED else table


def bullets(items: Iterable[str], ordered: bool = False) -> Bullets:
    """A list of texts made harmless."""
    return Bullets(tuple(clean(item) for item in items), ordered)


def facts(**pairs: str) -> Facts:
    """Terms from keyword names ("input_shape" reads "Input shape"), without those that are empty."""
    named = ((k.replace("_", " ").capitalize(), clean(v)) for k, v in pairs.items())
    return Facts(tuple((k, v) for k, v in named if v))
