"""Bars of latency by stage."""

from __future__ import annotations

from math import isfinite
from typing import Any

from primum.reporting import numbers as n
from primum.reporting.figures import DELIVERED, INK, MUTED, ORIGINAL, board, svg

Bars = tuple[str, list[tuple[str, float, float]]]


def draw(series: list[Bars]) -> str:
    """(name, [(stage, p50, p95)]) of original and delivered; a p95 of NaN has no whisker."""
    stages = [stage for stage, *_ in series[0][1]]
    height = 0.62 * len(stages) + 0.95
    with board(8.6, height) as figure:
        axes = figure.add_axes((0.2, 0.5 / height, 0.76, 1 - 0.85 / height))
        for row, (name, bars) in enumerate(series):
            colour = ORIGINAL if row == 0 else DELIVERED
            _bars(axes, row, bars, colour, name)
        axes.set_yticks(range(len(stages)), [n.shorten(s.replace("_", " "), 24) for s in stages])
        axes.set_ylim(len(stages) - 0.45, -0.55)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlim(0, _longest(series) * 1.17)
        axes.grid(axis="x")
        axes.set_xlabel("Milliseconds for one case")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1, handlelength=1.2)
        return svg(figure, "latency")


def _bars(axes: Any, row: int, bars: list[tuple[str, float, float]], colour: str, name: str) -> None:
    for place, (_, middle, high) in enumerate(bars):
        y = place - 0.19 + 0.38 * row
        if not isfinite(middle):
            axes.annotate("not measured", (0, y), (6, 0), textcoords="offset points", va="center", color=MUTED)
            continue
        axes.barh(y, middle, 0.32, color=colour, label=name if place == 0 else None, zorder=3)
        end = middle
        if isfinite(high):
            end = max(middle, high)
            axes.plot([middle, end], [y, y], color=INK, linewidth=1, zorder=4)
            axes.plot([end, end], [y - 0.08, y + 0.08], color=INK, linewidth=1, zorder=4)
        text = n.milliseconds(middle, unit=False)
        axes.annotate(text, (end, y), (6, 0), textcoords="offset points", va="center", color=MUTED, fontsize=8.5)


def _longest(series: list[Bars]) -> float:
    values = [v for _, bars in series for _, middle, high in bars for v in (middle, high) if isfinite(v)]
    return max(values, default=1.0) or 1.0
