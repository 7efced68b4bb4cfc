"""The forest plot: every paired difference with its interval and its margin, worse on the left."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.figures import COLOURS, INK, MARGIN, MUTED, RULE, board, svg
from primum.validation.verdict import Component, Outcome, Verdict

MOST_ROWS = 68
_ROW = 0.3
_LEFT, _RIGHT = 0.29, 0.6
_LABELS, _FIGURES, _OUTCOMES = -0.86, 1.04, 1.8
"""Where the columns of words begin, in widths of the axes."""


@dataclass(frozen=True)
class Row:
    """One line of the plot; a line without a component is a heading."""

    label: str
    part: Component | None = None
    indent: bool = False


def rows_of(verdict: Verdict) -> list[Row]:
    """Endpoints first, then each subgroup; only what has a difference."""
    rows = [Row(w.endpoint(p.name), p) for p in verdict.components if isfinite(p.difference)]
    column = None
    for level in verdict.subgroups:
        parts = [p for p in level.components if isfinite(p.difference)]
        if parts and level.column != column:
            column = level.column
            rows.append(Row(n.shorten(column, 30)))
        for part in parts:
            short = {"sensitivity": "sens.", "specificity": "spec."}.get(part.name, part.name)
            rows.append(Row(f"{n.shorten(level.value, 15)}, {short} (n = {n.count(part.n)})", part, indent=True))
    return rows


def draw(rows: list[Row]) -> str:
    """The plot as SVG. Intervals are in percentage points; AUROC and Brier score in hundredths."""
    height = _ROW * (len(rows) + 1) + 0.66
    with board(9.4, height) as figure:
        bottom = 0.5 / height
        axes = figure.add_axes((_LEFT, bottom, _RIGHT - _LEFT, 1 - bottom - 0.1 / height))
        reach = _reach(rows)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(len(rows) - 0.4, -1.1)
        axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
        for place, row in enumerate(rows):
            _draw_row(axes, place, row, reach)
        _finish(axes, reach)
        return svg(figure, "forest")


def _reach(rows: list[Row]) -> float:
    """Wide enough for the endpoints and every margin; a tiny group's interval may run off the axis."""
    parts = [(row.part, row.indent) for row in rows if row.part is not None]
    ends = [abs(v) for p, inner in parts if not inner for v in (p.lower, p.upper) if isfinite(v)]
    ends += [p.margin * 1.25 for p, _ in parts]
    ends += [abs(p.difference) * 1.15 for p, _ in parts if p.outcome is Outcome.INFERIOR]
    ends += [min(abs(p.difference), p.margin * 3) for p, _ in parts]
    return max(ends, default=0.01) * 112


def _draw_row(axes: Any, place: int, row: Row, reach: float) -> None:
    across = axes.get_yaxis_transform()
    if row.part is None:
        axes.text(_LABELS, place, row.label, transform=across, va="center", weight="bold", color=MUTED)
        return
    part, colour = row.part, COLOURS[row.part.outcome]
    hollow = part.outcome in (Outcome.INSUFFICIENT, Outcome.NOT_ASSESSED)
    left = _LABELS + 0.035 * row.indent
    axes.text(left, place, row.label, transform=across, va="center", weight="normal" if row.indent else "bold")
    unit = " pp" if part.name in n.RATES else ""
    interval = n.interval(part.name, part.lower, part.upper).removesuffix(" pp")
    figures = f"{n.difference(part.name, part.difference).removesuffix(' pp')} ({interval}){unit}"
    axes.text(_FIGURES, place, figures, transform=across, va="center", color=INK)
    words = f"{w.GLYPHS[part.outcome]} {w.WORDS[part.outcome]}"
    axes.text(_OUTCOMES, place, words, transform=across, va="center", color=colour)
    axes.plot([-part.margin * 100] * 2, [place - 0.36, place + 0.36], color=MARGIN, linewidth=1.6, zorder=2)
    _draw_interval(axes, place, part, colour, hollow, reach)


def _draw_interval(axes: Any, place: int, part: Component, colour: str, hollow: bool, reach: float) -> None:
    if isfinite(part.lower) and isfinite(part.upper):
        low, high = (min(max(end * 100, -reach), reach) for end in (part.lower, part.upper))
        axes.plot([low, high], [place, place], color=colour, linewidth=1.8, zorder=3, solid_capstyle="butt")
        for end, beyond, marker in ((low, part.lower * 100 < -reach, "<"), (high, part.upper * 100 > reach, ">")):
            if beyond:
                axes.plot([end], [place], marker=marker, color=colour, markersize=5, clip_on=False, zorder=4)
            else:
                axes.plot([end] * 2, [place - 0.12, place + 0.12], color=colour, linewidth=1.4, zorder=3)
    centre = part.difference * 100
    if abs(centre) <= reach:
        fill = "white" if hollow else colour
        size = 5.5 if part.name in n.RATES else 5
        axes.plot([centre], [place], "s", markersize=size, markerfacecolor=fill, markeredgecolor=colour, zorder=5)


def _finish(axes: Any, reach: float) -> None:
    from matplotlib.ticker import MaxNLocator

    across = axes.get_yaxis_transform()
    for x, text in ((_LABELS, "Endpoint"), (_FIGURES, "Difference (interval)"), (_OUTCOMES, "Outcome")):
        axes.text(x, -0.85, text, transform=across, va="center", color=MUTED)
    axes.text(-reach * 0.04, -0.85, "← worse", ha="right", va="center", color=MUTED)
    axes.text(reach * 0.04, -0.85, "better →", ha="left", va="center", color=MUTED)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(lambda value, _: n.signed(value, 1).replace(".0", ""))
    axes.grid(axis="x")
    axes.tick_params(axis="x", length=3, color=RULE)
    axes.set_xlabel("Percentage points (AUROC and Brier score: hundredths)")
