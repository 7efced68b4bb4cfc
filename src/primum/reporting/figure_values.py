"""Values and masks, case by case: how far the candidate lies from the original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np
from numpy.typing import NDArray

from primum.reporting.figures import DELIVERED, INK, MARGIN, RULE, finish, svg, tiles

_Floats = NDArray[np.float64]
MOST_DOTS = 1500


@dataclass(frozen=True)
class Differences:
    """One output (N,): candidate less original against their mean; limits and tolerance are NaN where not known."""

    title: str
    mean: _Floats
    gap: _Floats
    bias: float = nan
    lower: float = nan
    upper: float = nan
    tolerance: float = nan


@dataclass(frozen=True)
class Masks:
    """One structure: Dice (N,) of original and candidate; `loss` is what counts as a case that lost."""

    title: str
    reference: _Floats
    candidate: _Floats
    loss: float


def draw_differences(panels: Sequence[Differences]) -> str:
    """Bland and Altman's plot of each output."""
    with tiles(len(panels)) as (figure, made):
        for axes, panel in zip(made, panels):
            if isfinite(panel.tolerance):
                axes.axhspan(-panel.tolerance, panel.tolerance, color="#e7f4ef", zorder=0, label="Within tolerance")
                for end in (-panel.tolerance, panel.tolerance):
                    axes.axhline(end, color=MARGIN, linewidth=1.2, zorder=1)
            axes.axhline(0, color=RULE, linewidth=1.2, zorder=1)
            shown = thinned(np.abs(panel.gap))
            axes.plot(panel.mean[shown], panel.gap[shown], ".", color=DELIVERED, markersize=3.5, alpha=0.6, zorder=2)
            for value, dashes, name in (
                (panel.bias, "-", "Mean difference"),
                (panel.lower, (0, (4, 2)), "Limits of agreement"),
                (panel.upper, (0, (4, 2)), None),
            ):
                if isfinite(value):
                    axes.axhline(value, color=INK, linewidth=1.3, linestyle=dashes, label=name, zorder=3)
            known = [abs(v) for v in (panel.tolerance, panel.lower, panel.upper) if isfinite(v)]
            reach = max([float(np.abs(panel.gap).max()), *known]) * 1.12 or 1.0
            axes.set_ylim(-reach, reach)
        finish(figure, made, [p.title for p in panels], "Mean of both", "Candidate − original")
        return svg(figure, "values")


def draw_masks(panels: Sequence[Masks]) -> str:
    """Dice of the candidate against the original's, a dot a case."""
    with tiles(len(panels)) as (figure, made):
        for axes, panel in zip(made, panels):
            low = float(min(panel.reference.min(), panel.candidate.min()))
            start = max(0.0, min(low - 0.02, 0.9))
            line = np.array([start, 1.0])
            axes.plot(line, line, color=RULE, linewidth=1.3, zorder=1, label="No change")
            axes.plot(
                line,
                line - panel.loss,
                color=MARGIN,
                linewidth=1.1,
                linestyle=(0, (4, 2)),
                label=f"Loss of {panel.loss:g}",
            )
            lost = panel.reference - panel.candidate
            shown = thinned(np.abs(lost))
            axes.plot(panel.reference[shown], panel.candidate[shown], ".", color=DELIVERED, markersize=4, alpha=0.6)
            far = lost > panel.loss
            if far.any():
                axes.plot(panel.reference[far], panel.candidate[far], "X", color=MARGIN, markersize=5, label="Lost")
            room = (1 - start) * 0.02
            axes.set_xlim(start, 1 + room)
            axes.set_ylim(start, 1 + room)
            axes.set_aspect("equal")
        finish(figure, made, [p.title for p in panels], "Dice of the original", "Dice of what is delivered")
        return svg(figure, "values")


def thinned(distance: _Floats) -> NDArray[np.int64]:
    """Places of at most `MOST_DOTS` cases: the farthest half of these, and every so manieth of the others."""
    if distance.size <= MOST_DOTS:
        return np.arange(distance.size)
    ranked = np.argsort(-distance, kind="stable")
    half = MOST_DOTS // 2
    rest = np.sort(ranked[half:])
    return np.sort(np.concatenate([ranked[:half], rest[:: -(-rest.size // half)]]))
