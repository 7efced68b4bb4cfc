"""The guard's curve: what each epsilon defers, what it leaves, and the speed that is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from primum.reporting.figures import DELIVERED, INK, MARGIN, MUTED, ORIGINAL, board, svg


@dataclass(frozen=True)
class Spot:
    """One epsilon that has a band; shares lie between 0 and 1."""

    epsilon: float
    deferred: float
    left: float
    lower: float
    upper: float
    speed: float


Line = tuple[str, Sequence[Spot]]
_LOOKS = ((ORIGINAL, (0, (4, 2)), "s"), (DELIVERED, "-", "o"))
_PANELS = ("Cases deferred", "Patients with an\nundetected change", "Speed-up over\nthe original")


def draw(lines: Sequence[Line], chosen: float) -> str:
    """Three panels over epsilon: (label, spots) on average and with confidence; `chosen` is the epsilon in force."""
    with board(8.6, 6.4) as figure:
        panels = [figure.add_axes((0.13, 0.695 - 0.305 * i, 0.84, 0.235)) for i in range(3)]
        for (label, spots), look in zip(lines, _LOOKS):
            _draw(panels, label, spots, look)
        marks = sorted({s.epsilon for _, spots in lines for s in spots})
        for axes, title in zip(panels, _PANELS):
            _frame(axes, title, marks, chosen)
        panels[1].plot(marks, marks, color=MARGIN, linewidth=1, linestyle=(0, (1, 2)), label="epsilon itself")
        panels[1].legend(loc="upper left", handlelength=2.2)
        panels[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1, handlelength=2.6)
        for axes in panels[:2]:
            axes.yaxis.set_major_formatter(lambda value, _: f"{value * 100:g}%")
            axes.set_ylim(bottom=0)
        panels[2].yaxis.set_major_formatter(lambda value, _: f"{value:g}×")
        panels[2].set_ylim(bottom=0)
        panels[2].set_xlabel("Epsilon: the bound on patients with an undetected changed decision")
        return svg(figure, "guard")


def _draw(panels: list[Any], label: str, spots: Sequence[Spot], look: tuple[str, Any, str]) -> None:
    colour, dashes, marker = look
    x = [s.epsilon for s in spots]
    style = {"color": colour, "linestyle": dashes, "marker": marker, "markersize": 4.5, "linewidth": 1.5}
    for axes, name in zip(panels, ("deferred", "left", "speed")):
        axes.plot(x, [getattr(s, name) for s in spots], label=label if name == "deferred" else None, zorder=3, **style)
    for spot in spots:
        if isfinite(spot.lower) and isfinite(spot.upper):
            panels[1].plot([spot.epsilon] * 2, [spot.lower, spot.upper], color=colour, linewidth=1, zorder=2)


def _frame(axes: Any, title: str, marks: list[float], chosen: float) -> None:
    axes.set_xscale("log")
    if marks:
        axes.set_xlim(marks[0] / 1.3, marks[-1] * 1.3)
    shown = [m for i, m in enumerate(marks) if i == 0 or m / marks[i - 1] > 1.25]
    axes.set_xticks(shown, [f"{m * 100:.3g}%" for m in shown])
    axes.minorticks_off()
    axes.axvline(chosen, color=INK, linewidth=0.9, zorder=1)
    axes.set_ylabel(title, color=MUTED)
    axes.grid()
