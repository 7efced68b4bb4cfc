"""ROC curves, and bars of latency by stage."""

from __future__ import annotations

from math import isfinite
from typing import Any

from primum.reporting import numbers as n
from primum.reporting.figures import DELIVERED, INK, MUTED, ORIGINAL, RULE, board, svg

_LOOKS = ((ORIGINAL, (0, (4, 2)), "s", 2.6), (DELIVERED, "-", "o", 1.7))

Curve = tuple[str, Any, Any, tuple[float, float]]
Bars = tuple[str, list[tuple[str, float, float]]]


def draw_roc(curves: list[Curve]) -> str:
    """(label, false-positive rates, true-positive rates, operating point) of original and delivered."""
    with board(5.6, 5.2) as figure:
        axes = figure.add_axes((0.12, 0.11, 0.85, 0.86))
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1, zorder=1)
        for (label, fpr, tpr, point), (colour, dashes, marker, width) in zip(curves, _LOOKS):
            axes.plot(fpr, tpr, color=colour, linestyle=dashes, linewidth=width, label=label, zorder=3)
            axes.plot(
                *([v] for v in point),
                marker=marker,
                markersize=9 if marker == "s" else 6,
                markerfacecolor="white",
                markeredgecolor=colour,
                markeredgewidth=1.6,
                zorder=4,
            )
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-0.01, 1.01)
        axes.set_aspect("equal")
        for axis, name in ((axes.xaxis, "False alarms (1 − specificity)"), (axes.yaxis, "Sensitivity")):
            axis.set_major_formatter(lambda value, _: f"{value:.0%}")
            axis.set_label_text(name)
        axes.grid()
        axes.legend(loc="lower right", handlelength=2.6)
        return svg(figure, "roc")


def draw_latency(series: list[Bars]) -> str:
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
