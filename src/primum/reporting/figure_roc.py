"""ROC curves of both models: one large, or one small panel for each class, grade or label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from primum.reporting.figures import LOOKS, MUTED, RULE, board, finish, svg, tiles

_HIGH = 0.97
"""AUROC of both beyond which all that can be seen happens in the upper left corner."""
_CORNER = 0.1
_ACROSS, _UP = "False alarms (1 − specificity)", "Sensitivity"


@dataclass(frozen=True)
class Line:
    """One model: its false- and true-positive rates, and the (false-, true-positive) rate at which it decides."""

    label: str
    area: float
    fpr: Any
    tpr: Any
    point: tuple[float, float]


@dataclass(frozen=True)
class Panel:
    """Original and delivered on one question; `title` is "" where there is one."""

    title: str
    lines: tuple[Line, ...]


def draw(panels: list[Panel]) -> str:
    """The figure as SVG."""
    if len(panels) == 1:
        return _draw_one(panels[0])
    with tiles(len(panels)) as (figure, made):
        for axes, panel in zip(made, panels):
            _frame(axes)
            _lines(axes, panel, ("Original", "Delivered"))
            areas = " → ".join(f"{line.area:.3f}" for line in panel.lines)
            axes.text(0.97, 0.05, f"AUROC {areas}", transform=axes.transAxes, ha="right", color=MUTED, fontsize=8.5)
        finish(figure, made, [p.title for p in panels], _ACROSS, _UP)
        return svg(figure, "roc")


def _draw_one(panel: Panel) -> str:
    with board(5.6, 5.2) as figure:
        axes = figure.add_axes((0.12, 0.11, 0.85, 0.86))
        _frame(axes)
        axes.set_xlabel(_ACROSS)
        axes.set_ylabel(_UP)
        axes.grid()
        _lines(axes, panel, tuple(line.label for line in panel.lines))
        if all(line.area > _HIGH for line in panel.lines):
            _zoom(axes, panel)
        axes.legend(loc="lower right", handlelength=2.6)
        return svg(figure, "roc")


def _zoom(axes: Any, panel: Panel) -> None:
    """The upper left corner, with both operating points in it."""
    reach = max(_CORNER, *(1.4 * max(line.point[0], 1 - line.point[1]) for line in panel.lines))
    inset = axes.inset_axes((0.33, 0.27, 0.6, 0.55))
    _lines(inset, panel, (None, None))
    inset.set_xlim(-reach * 0.02, reach)
    inset.set_ylim(1 - reach, 1 + reach * 0.02)
    inset.tick_params(labelsize=8)
    inset.set_facecolor("white")
    _percent(inset)
    inset.grid()
    for line in axes.indicate_inset_zoom(inset, edgecolor=MUTED).connectors:
        line.set_visible(False)


def _frame(axes: Any) -> None:
    axes.plot([0, 1], [0, 1], color=RULE, linewidth=1, zorder=1)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    _percent(axes)


def _percent(axes: Any) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value * 100:.3g}%")


def _lines(axes: Any, panel: Panel, names: tuple[str | None, ...]) -> None:
    for line, label, (colour, dashes, marker, width) in zip(panel.lines, names, LOOKS):
        axes.plot(line.fpr, line.tpr, color=colour, linestyle=dashes, linewidth=width, label=label, zorder=3)
        size = 9 if marker == "s" else 6
        look = {"markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 1.6}
        axes.plot(
            *([v] for v in line.point),
            marker=marker,
            markersize=size,
            linestyle="none",
            zorder=4,
            clip_on=False,
            **look,
        )
