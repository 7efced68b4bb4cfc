"""The drawing board that all figures share: one look, and SVG that is the same byte for byte every time."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from primum.errors import MissingExtra
from primum.reporting.numbers import shorten
from primum.validation.verdict import Outcome

INK, MUTED, RULE = "#1c2530", "#5b6673", "#d5dbe2"
ORIGINAL, DELIVERED, MARGIN = "#7a8694", "#0067b8", "#c4320a"
LOOKS = ((ORIGINAL, (0, (4, 2)), "s", 2.6), (DELIVERED, "-", "o", 1.7))
"""Colour, dashes, marker and width of original and delivered."""
COLOURS = {
    Outcome.NON_INFERIOR: "#00785a",
    Outcome.INFERIOR: "#c4320a",
    Outcome.INCONCLUSIVE: "#a36a00",
    Outcome.NOT_ASSESSED: "#7a8694",
    Outcome.INSUFFICIENT: "#b3261e",
}
_STYLE = {
    "svg.hashsalt": "primum",
    # Text stays text: it can be searched, scaled and read aloud, and takes the page's own font.
    "svg.fonttype": "none",
    # A group called "$x$" is a name, not a formula.
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#e8ecf0",
    "grid.linewidth": 0.8,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@contextmanager
def board(width: float, height: float) -> Iterator[Any]:
    """A figure of `width` by `height` inches in the house style. Raises MissingExtra without matplotlib."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("the report's figures", "optimize") from error
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        # Names in other scripts are drawn by the reader's own fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield Figure(figsize=(width, height))


def tiles_across(count: int) -> int:
    """How many of `count` panels stand in a row."""
    return 2 if count == 4 else min(count, 3)


@contextmanager
def tiles(count: int) -> Iterator[tuple[Any, list[Any]]]:
    """A figure and `count` axes: one large, or small ones, two or three a row, with room for a legend above."""
    columns = tiles_across(count)
    rows = -(-count // columns)
    side = {1: 4.6, 2: 3.4}.get(columns, 2.75)
    width, height = columns * (side + 0.75) + 0.1, rows * (side + 0.85) + 0.35
    with board(width, height) as figure:
        made = []
        for place in range(count):
            row, column = divmod(place, columns)
            left = (column * (side + 0.75) + 0.7) / width
            bottom = 1 - (0.35 + row * (side + 0.85) + 0.28 + side) / height
            made.append(figure.add_axes((left, bottom, side / width, side / height)))
        yield figure, made


def finish(figure: Any, made: list[Any], titles: list[str], across: str, up: str) -> None:
    """Titles of the panels, the axes' names at the left and below, and one legend above for all."""
    columns = tiles_across(len(made))
    for place, (axes, title) in enumerate(zip(made, titles)):
        axes.grid()
        axes.tick_params(labelsize=9 if len(made) == 1 else 8)
        if title:
            axes.set_title(shorten(title, 34), fontsize=9.5, loc="left", pad=5)
        if place >= len(made) - columns:
            axes.set_xlabel(across)
        if place % columns == 0:
            axes.set_ylabel(up)
    handles, labels = max((axes.get_legend_handles_labels() for axes in made), key=lambda found: len(found[0]))
    if handles:
        figure.legend(handles, labels, loc="upper center", ncols=len(handles), borderaxespad=0.2, handlelength=2.6)


def svg(figure: Any, name: str) -> str:
    """The figure as an inline SVG element: no metadata, no reference to anything outside, ids of its own."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = out.getvalue().decode()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    head, rest = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    head = f'<svg {box.group(0) if box else ""} aria-hidden="true" focusable="false"'
    return f"{head}>{_rename(rest, name)}"


def _rename(body: str, name: str) -> str:
    """Several figures share one page: their ids must not meet."""
    body = re.sub(r'(<[^<>]*\sid=")', rf"\g<1>{name}-", body)
    body = re.sub(r'xlink:href="#', f'href="#{name}-', body)
    return re.sub(r"url\(#", f"url(#{name}-", body)
