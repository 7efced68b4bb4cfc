"""Horizontal bars: one quantity for each of a few named things, largest first or in their own order."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from primum.reporting import numbers as n
from primum.reporting.figures import DELIVERED, INK, MARGIN, RULE, board, svg

_ROW = 0.29
_LEFT, _RIGHT = 0.27, 0.76


@dataclass(frozen=True)
class Bar:
    """One bar; `words` stand behind it. A value that is not finite runs to the end of the axis, in red."""

    label: str
    value: float
    words: str
    lower: float = float("nan")
    upper: float = float("nan")
    """Ends of its interval, where it has one."""


def draw(bars: list[Bar], name: str, axis: str) -> str:
    """The plot as SVG; `axis` says what is measured, in which unit."""
    height = _ROW * len(bars) + 0.62
    with board(9.4, height) as figure:
        bottom = 0.52 / height
        axes = figure.add_axes((_LEFT, bottom, _RIGHT - _LEFT, 1 - bottom - 0.06 / height))
        known = [v for bar in bars for v in (bar.value, bar.upper) if isfinite(v)]
        reach = max(known, default=0.0) * 1.06 or 1.0
        axes.set_xlim(0, reach)
        axes.set_ylim(len(bars) - 0.45, -0.55)
        axes.set_yticks([])
        axes.spines["left"].set_color(RULE)
        across = axes.get_yaxis_transform()
        for place, bar in enumerate(bars):
            finite = isfinite(bar.value)
            width, colour = (bar.value, DELIVERED) if finite else (reach, MARGIN)
            axes.barh(place, width, height=0.62, color=colour, zorder=2)
            if isfinite(bar.lower) and isfinite(bar.upper):
                axes.plot([bar.lower, bar.upper], [place, place], color=INK, linewidth=1.2, zorder=3)
            axes.text(-0.02, place, n.shorten(bar.label, 32), transform=across, ha="right", va="center", color=INK)
            axes.text(1.02, place, bar.words, transform=across, va="center", color=INK)
        axes.grid(axis="x")
        axes.tick_params(axis="x", length=3, color=RULE)
        axes.set_xlabel(axis)
        return svg(figure, name)
