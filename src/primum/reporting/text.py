"""The page as text for a terminal: the same order, at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from primum.reporting.blocks import Banner, Block, Bullets, Cell, Column, Facts, Heading, Page, Paragraph, Side, Table
from primum.reporting.numbers import clean

WIDTH = 100
_GAP = 2
_NARROWEST = 12


def to_text(page: Page) -> bytes:
    """The file's content, UTF-8."""
    lines = ["PRIMUM REPORT", *_wrap(page.name), *_wrap(page.made), ""]
    for banner in page.banners:
        lines += [*_banner(banner), ""]
    head = page.headline
    lines += ["=" * WIDTH, *_wrap(f"{head.glyph} {head.title}"), "=" * WIDTH]
    for sentence in head.lead:
        lines += _wrap(sentence)
    lines += [line for reason in head.reasons for line in _wrap(reason, "- ")]
    lines.append("")
    widest = max(len(card.title) for card in page.cards)
    for card in page.cards:
        lines += _wrap(f"{card.figure}   ({card.detail})", f"{card.title:<{widest}}   ")
    for number, section in enumerate(page.sections, 1):
        lines += ["", "", *_wrap(f"{number}. {section.title}"), "-" * WIDTH]
        for block in section.blocks:
            lines += _block(block)
    lines += ["", "", "=" * WIDTH]
    for sentence in page.closing:
        lines += _wrap(sentence)
    lines += ["", *(f"{name + ':':<22}{'_' * 40}" for name in page.signature)]
    return ("\n".join(line.rstrip() for line in lines) + "\n").encode()


def _block(block: Block) -> list[str]:
    match block:
        case Table():
            return ["", *_wrap(block.caption), *_table(block)]
        case Paragraph():
            return _wrap(block.text)
        case Heading():
            return ["", *_wrap(f"## {block.text}")]
        case Bullets():
            marks = (f"{i}. " if block.ordered else "- " for i in range(1, len(block.items) + 1))
            return [line for mark, item in zip(marks, block.items) for line in _wrap(item, mark)]
        case Facts():
            widest = max((len(name) for name, _ in block.pairs), default=0)
            return [line for name, value in block.pairs for line in _wrap(value, f"{name:<{widest}}  ")]
        case Side():
            return [line for inner in block.blocks for line in _block(inner)]
    return []


def _banner(banner: Banner) -> list[str]:
    if banner.tone == "bad":
        return ["!" * WIDTH, *_wrap(f"{banner.word}. {banner.text}", "!! "), "!" * WIDTH]
    return _wrap(f"{banner.word}. {banner.text}", "! ")


def _table(table: Table) -> list[str]:
    rows = [[_flat(cell) for cell in cells] for cells in table.rows]
    widths = _widths(table.columns, rows)
    if widths is None:
        return _records(table.columns, rows)
    lines = [*_row([c.title for c in table.columns], table.columns, widths), "  ".join("-" * w for w in widths)]
    for cells in rows:
        lines += _row(cells, table.columns, widths)
    return lines


def _widths(columns: Sequence[Column], rows: list[list[str]]) -> list[int] | None:
    """Natural widths where they fit; else the widest columns of words give way; None where even that is not enough."""
    widths = []
    for i, column in enumerate(columns):
        body = max((len(row[i]) for row in rows), default=0)
        # A heading may break between words, a number may not break at all.
        head = max((len(word) for word in column.title.split()), default=0) if column.numeric else len(column.title)
        widths.append(max(body, min(head, 14)))
    room = WIDTH - _GAP * (len(columns) - 1)
    while sum(widths) > room:
        soft = [i for i, c in enumerate(columns) if not c.numeric and widths[i] > _NARROWEST]
        if not soft:
            return None
        widest = max(soft, key=lambda i: widths[i])
        widths[widest] -= 1
    return widths


def _row(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> list[str]:
    broken = [_break(cell, width) for cell, width in zip(cells, widths)]
    lines = []
    for i in range(max(len(lines) for lines in broken)):
        parts = [lines[i] if i < len(lines) else "" for lines in broken]
        set_ = (f"{p:>{w}}" if c.numeric else f"{p:<{w}}" for p, c, w in zip(parts, columns, widths))
        lines.append((" " * _GAP).join(set_))
    return lines


def _records(columns: Sequence[Column], rows: Iterable[list[str]]) -> list[str]:
    """One paragraph a row, for a table that is wider than the page."""
    lines: list[str] = []
    for cells in rows:
        lines += _wrap(cells[0], "* ")
        told = [f"{column.title}: {cell}" for column, cell in zip(columns[1:], cells[1:])]
        lines += _wrap(" | ".join(told), "    ")
    return lines


def _flat(cell: Cell) -> str:
    return f"{cell.text}; {cell.note}" if cell.note else cell.text


def _break(text: str, width: int) -> list[str]:
    return textwrap.wrap(clean(text), max(width, 1), break_on_hyphens=False) or [""]


def _wrap(text: str, mark: str = "") -> list[str]:
    """At most WIDTH columns; lines after the first stand under the text, not under the mark."""
    lines = _break(text, WIDTH - len(mark))
    return [f"{mark}{lines[0]}", *(f"{' ' * len(mark)}{line}" for line in lines[1:])]
