"""What a section says, for tests that ask."""

from __future__ import annotations

from primum.reporting.blocks import Block, Bullets, Facts, Figure, Section, Side, Table


def flat(section: Section) -> list[Block]:
    """Its blocks, those side by side among them."""
    return [inner for block in section.blocks for inner in (block.blocks if isinstance(block, Side) else (block,))]


def tables(section: Section) -> list[Table]:
    return [block for block in flat(section) if isinstance(block, Table)]


def figure(section: Section) -> Figure:
    return next(block for block in flat(section) if isinstance(block, Figure))


def texts(table: Table) -> list[list[str]]:
    """Each row's cells, notes behind a bar."""
    return [[f"{c.text}|{c.note}" if c.note else c.text for c in cells] for cells in table.rows]


def words(section: Section) -> str:
    found: list[str] = []
    for block in flat(section):
        if isinstance(block, Table):
            found += [block.caption, *(c.title for c in block.columns), *(x for r in texts(block) for x in r)]
        elif isinstance(block, Bullets):
            found += block.items
        elif isinstance(block, Facts):
            found += [f"{name}: {value}" for name, value in block.pairs]
        elif isinstance(block, Figure):
            found += [block.label, block.caption]
        else:
            found.append(block.text)  # type: ignore[union-attr]
    return "\n".join(found)
