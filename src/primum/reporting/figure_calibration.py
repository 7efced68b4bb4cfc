"""Reliability curves and decision curves of both models, a panel for each question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from primum.reporting.figures import INK, LOOKS, MUTED, RULE, finish, svg, tiles
from primum.validation.calibration import CurveBin

_SIDES = ("Original", "Delivered")


@dataclass(frozen=True)
class Reliability:
    """One question: the bins of original and delivered."""

    title: str
    curves: tuple[Sequence[CurveBin], Sequence[CurveBin]]


@dataclass(frozen=True)
class Benefit:
    """One question: net benefit of original, delivered and treating everybody over thresholds, and those in use."""

    title: str
    thresholds: Sequence[float]
    reference: Sequence[float]
    candidate: Sequence[float]
    treat_all: Sequence[float]
    used: tuple[float, ...]


def draw_reliability(panels: Sequence[Reliability]) -> str:
    """Observed share against mean score, with the intervals of the shares."""
    with tiles(len(panels)) as (figure, made):
        for axes, panel in zip(made, panels):
            axes.plot([0, 1], [0, 1], color=RULE, linewidth=1.2, zorder=1)
            for place, (name, bins) in enumerate(zip(_SIDES, panel.curves)):
                _reliability(axes, name, bins, place)
            axes.set_xlim(-0.02, 1.02)
            axes.set_ylim(-0.02, 1.02)
            axes.set_aspect("equal")
        finish(figure, made, [p.title for p in panels], "Mean score", "Observed share")
        return svg(figure, "calibration")


def draw_benefit(panels: Sequence[Benefit]) -> str:
    """Net benefit over thresholds; treating nobody is the line at 0."""
    with tiles(len(panels)) as (figure, made):
        for axes, panel in zip(made, panels):
            axes.axhline(0, color=INK, linewidth=1, zorder=1, label="Treat none")
            axes.plot(panel.thresholds, panel.treat_all, color=MUTED, linewidth=1, linestyle=":", label="Treat all")
            for (colour, dashes, _, width), name, line in zip(LOOKS, _SIDES, (panel.reference, panel.candidate)):
                axes.plot(panel.thresholds, line, color=colour, linestyle=dashes, linewidth=width, label=name, zorder=3)
            for at in panel.used:
                axes.axvline(at, color=RULE, linewidth=1.4, zorder=0.5)
            top = max(*panel.reference, *panel.candidate, *panel.treat_all, 0.01) * 1.08
            axes.set_ylim(-top * 0.22, top)
            axes.set_xlim(0, 1)
        finish(figure, made, [p.title for p in panels], "Threshold", "Net benefit")
        return svg(figure, "benefit")


def _reliability(axes: Any, name: str, bins: Sequence[CurveBin], place: int) -> None:
    colour, dashes, marker, width = LOOKS[place]
    x, y = [b.predicted for b in bins], [b.observed for b in bins]
    ends = [[max(0.0, b.observed - b.lower) for b in bins], [max(0.0, b.upper - b.observed) for b in bins]]
    axes.errorbar(x, y, yerr=ends, fmt="none", ecolor=colour, elinewidth=1, alpha=0.75, zorder=2)
    axes.plot(
        x,
        y,
        color=colour,
        linestyle=dashes,
        linewidth=min(width, 1.7),
        marker=marker,
        markersize=5.5 if marker == "s" else 4,
        markerfacecolor="white" if marker == "s" else colour,
        label=name,
        zorder=3,
    )
