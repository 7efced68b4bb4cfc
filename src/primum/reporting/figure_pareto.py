"""Speed-up against size: the front, what is delivered, and what each trial's outcome was."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from primum.reporting import numbers as n
from primum.reporting.figures import COLOURS, DELIVERED, INK, MUTED, board, svg
from primum.reporting.wording import GLYPHS, WORDS
from primum.validation.verdict import Outcome

_MARKERS = {
    Outcome.NON_INFERIOR: "o",
    Outcome.INFERIOR: "X",
    Outcome.INCONCLUSIVE: "^",
    Outcome.NOT_ASSESSED: "s",
    Outcome.INSUFFICIENT: "D",
}
_WIDE = 8.0
"""Largest value / smallest from which an axis is logarithmic."""
_MOST_LABELS = 14
_STEPS = 120
_PLACES = ((9, 0, "left"), (-9, 0, "right"), (0, 12, "center"), (0, -13, "center"), (9, 12, "left"), (9, -13, "left"),
           (-9, 12, "right"), (-9, -13, "right"), (0, 24, "center"), (0, -25, "center"))  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One trial."""

    name: str
    megabytes: float
    speed: float
    outcome: Outcome
    front: bool
    winner: bool
    baseline: bool


def draw(points: list[Point]) -> str:
    """The plot as SVG."""
    with board(8.6, 5.0) as figure:
        axes = figure.add_axes((0.09, 0.12, 0.88, 0.76))
        _scale(axes.set_xscale, axes.set_xlim, axes.xaxis, [p.megabytes for p in points], "{:g} MB")
        _scale(axes.set_yscale, axes.set_ylim, axes.yaxis, [p.speed for p in points], "{:g}×")
        axes.set_xlabel("Size of the model files")
        axes.set_ylabel("Speed-up over the original")
        axes.grid()
        front = sorted((p for p in points if p.front), key=lambda p: (p.megabytes, p.speed))
        axes.plot([p.megabytes for p in front], [p.speed for p in front], color=MUTED, linewidth=1.1, zorder=2)
        for point in points:
            _mark(axes, point)
        _key(axes, points)
        _name(figure, axes, points)
        return svg(figure, "pareto")


def _mark(axes: Any, point: Point) -> None:
    place = [point.megabytes], [point.speed]
    colour = COLOURS[point.outcome]
    axes.plot(
        *place,
        marker=_MARKERS[point.outcome],
        markersize=8,
        markerfacecolor=colour if point.outcome is not Outcome.NOT_ASSESSED else "white",
        markeredgecolor="white" if point.outcome is not Outcome.NOT_ASSESSED else colour,
        zorder=4,
    )
    if point.winner:
        axes.plot(
            *place, "o", markersize=17, markerfacecolor="none", markeredgecolor=DELIVERED, markeredgewidth=2, zorder=5
        )


def _scale(set_scale: Any, set_limits: Any, axis: Any, values: list[float], pattern: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = min(values), max(values)
    if high / low > _WIDE:
        set_scale("log")
        set_limits(low / 1.5, high * 1.6)
        axis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        axis.set_minor_formatter(NullFormatter())
    else:
        # Sizes that hardly differ must not look far apart.
        room = max((high - low) * 0.15, high * 0.08)
        set_limits(max(0.0, low - room), high + room)
    axis.set_major_formatter(lambda value, _: pattern.format(round(value, 6)))


def _key(axes: Any, points: list[Point]) -> None:
    from matplotlib.lines import Line2D

    seen = [outcome for outcome in _MARKERS if any(p.outcome is outcome for p in points)]
    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=_MARKERS[o],
            color=COLOURS[o],
            markersize=7,
            label=f"{GLYPHS[o]} {WORDS[o]}",
        )
        for o in seen
    ]
    handles.append(Line2D([], [], color=MUTED, linewidth=1.1, label="Front"))
    ring: dict[str, Any] = {
        "marker": "o",
        "markersize": 11,
        "markerfacecolor": "none",
        "markeredgecolor": DELIVERED,
        "markeredgewidth": 2,
    }
    handles.append(Line2D([], [], linestyle="none", label="Delivered", **ring))
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 1.01), ncols=len(handles), columnspacing=1.4)


def _name(figure: Any, axes: Any, points: list[Point]) -> None:
    """Label the few that matter, each at the first place where it meets neither a mark nor another label."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    taken = [_around(axes, p) for p in points] + _along(axes, [p for p in points if p.front])
    chosen = sorted(points, key=lambda p: (not p.winner, not p.baseline, not p.front, -p.speed))[:_MOST_LABELS]
    inside = axes.get_window_extent(renderer)
    for point in chosen:
        text = f"{point.name}, {n.ratio(point.speed)}"
        look = {"color": INK, "weight": "bold"} if point.winner else {"color": MUTED}
        for shift, align in _places(point.winner):
            label = axes.annotate(
                text,
                (point.megabytes, point.speed),
                shift,
                textcoords="offset points",
                ha=align,
                va="center",
                fontsize=8.5,
                zorder=6,
                **look,
            )
            box = label.get_window_extent(renderer).padded(1.5)
            fits = inside.x0 <= box.x0 and box.x1 <= inside.x1 + 12 and inside.y0 <= box.y0 and box.y1 <= inside.y1
            if fits and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            label.remove()


def _places(ringed: bool) -> list[tuple[tuple[int, int], str]]:
    """Offsets in points with alignment, best first; further out around a ring."""
    away = 4 if ringed else 0
    return [((x + away * ((x > 0) - (x < 0)), y + away * ((y > 0) - (y < 0))), align) for x, y, align in _PLACES]


def _around(axes: Any, point: Point) -> Any:
    from matplotlib.transforms import Bbox

    x, y = axes.transData.transform((point.megabytes, point.speed))
    half = 10 if point.winner else 5
    return Bbox.from_extents(x - half, y - half, x + half, y + half)


def _along(axes: Any, front: list[Point]) -> list[Any]:
    """Small boxes along the line of the front, so that no label crosses it."""
    from matplotlib.transforms import Bbox

    ends = axes.transData.transform(sorted((p.megabytes, p.speed) for p in front)) if front else []
    boxes = []
    for (x0, y0), (x1, y1) in pairwise(ends):
        for step in range(_STEPS + 1):
            x, y = x0 + (x1 - x0) * step / _STEPS, y0 + (y1 - y0) * step / _STEPS
            boxes.append(Bbox.from_extents(x - 1, y - 1, x + 1, y + 1))
    return boxes
