"""The forest plot: every paired difference with its interval and its margin, worse on the left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

from primum.config import kind_of
from primum.reporting import numbers as n
from primum.reporting import wording as w
from primum.reporting.figures import COLOURS, INK, MARGIN, MUTED, RULE, board, svg
from primum.task import Task
from primum.validation.verdict import Component, Outcome, SubgroupVerdict, Verdict

MOST_ROWS = 68
_FEW_VIEWS = 2
_ROOM = 29
"""Characters of a row's name."""
_ROW = 0.3
_LEFT, _RIGHT = 0.29, 0.6
_LABELS, _FIGURES, _OUTCOMES = -0.86, 1.04, 1.8
"""Where the columns of words begin, in widths of the axes."""
_SHORT = {
    "sensitivity": "sens.",
    "specificity": "spec.",
    "auroc": "AUROC",
    "brier": "Brier",
    "error": "error",
    "agreement": "limits",
    "dice": "Dice",
}
_OF_GRADES = "RPS"
"""The ranked probability score, which grades have in place of the Brier score."""
_HEADINGS = {Task.MULTICLASS: "By class", Task.ORDINAL: "By grade", Task.MULTILABEL: "By label"}


@dataclass(frozen=True)
class Axis:
    """What the axis measures. Without a `factor` each difference is shown as a multiple of its own margin."""

    title: str
    factor: float | None


@dataclass(frozen=True)
class Row:
    """One line of the plot; a line without a component is a heading."""

    label: str
    part: Component | None = None
    indent: bool = False


def axis_of(task: Task) -> Axis:
    """The axis that all endpoints of a task can share."""
    if task is Task.REGRESSION:
        return Axis("Multiples of the margin (the figures are in units of the label)", None)
    if task is Task.SEGMENTATION:
        return Axis("Dice, in hundredths", 100)
    scores = (
        f"AUROC, kappa and ranked probability score ({_OF_GRADES})" if task is Task.ORDINAL else "AUROC and Brier score"
    )
    return Axis(f"Percentage points ({scores}: hundredths)", 100)


def rows_of(verdict: Verdict) -> list[Row]:
    """The Brier (of grades the ranked probability) score, the other endpoints, each class, then each subgroup; only
    what has a difference."""
    task = verdict.task
    apart = task in _HEADINGS
    whole = [p for p in verdict.components if _drawn(p, task) and not (apart and p.view)]
    rows = [Row(w.endpoint(p.name, task), p) for p in sorted(whole, key=lambda p: p.name != "brier")]
    single = [p for p in verdict.components if _drawn(p, task) and apart and p.view]
    if single:
        rows.append(Row(_HEADINGS[task]))
        rows += [Row(_named(p.view, p, task), p, indent=True) for p in single]
    column = None
    for level in verdict.subgroups:
        parts = [p for p in _of_level(level, verdict) if _drawn(p, task)]
        if parts and level.column != column:
            column = level.column
            rows.append(Row(n.shorten(column, 30)))
        for part in parts:
            of = f"{n.shorten(level.value, 12)}, {part.view}" if part.view else level.value
            rows.append(Row(_named(of, part, task), part, indent=True))
    return rows


def fitting(rows: list[Row]) -> list[Row]:
    """At most `MOST_ROWS`: of classes and groups those that passed or are too small give way first."""
    spare = len(rows) - MOST_ROWS
    quiet = (Outcome.NON_INFERIOR, Outcome.INSUFFICIENT)
    kept = []
    for row in reversed(rows):
        if spare > 0 and row.indent and row.part is not None and row.part.outcome in quiet:
            spare -= 1
        else:
            kept.append(row)
    kept.reverse()
    followed = [*kept[1:], Row("")]
    return [r for r, after in zip(kept, followed) if r.part is not None or after.part is not None][:MOST_ROWS]


def draw(rows: list[Row], axis: Axis) -> str:
    """The plot as SVG."""
    height = _ROW * (len(rows) + 1) + 0.66
    with board(9.4, height) as figure:
        bottom = 0.5 / height
        axes = figure.add_axes((_LEFT, bottom, _RIGHT - _LEFT, 1 - bottom - 0.1 / height))
        reach = _reach(rows, axis)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(len(rows) - 0.4, -1.1)
        axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
        for place, row in enumerate(rows):
            _draw_row(axes, place, row, axis, reach)
        _finish(axes, reach, axis)
        return svg(figure, "forest")


def _drawn(part: Component, task: Task) -> bool:
    return isfinite(part.difference) and (task is not Task.REGRESSION or isfinite(part.margin))


def _of_level(level: SubgroupVerdict, verdict: Verdict) -> Iterator[Component]:
    """What is reported beside, then what decides; of many classes only those that are worse."""
    yield from level.reported
    several = len({part.view for part in level.components if part.view}) > _FEW_VIEWS
    for part in sorted(level.components, key=lambda p: p.name != "brier"):
        if not part.view or not several or part.outcome is Outcome.INFERIOR:
            yield part


def _named(of: str, part: Component, task: Task) -> str:
    """A class or group with the endpoint and its cases; the name gives way where there is no room for all."""
    kind = kind_of(part.name)
    short = _OF_GRADES if kind == "brier" and task is Task.ORDINAL else _SHORT.get(kind, kind)
    what = f"{short} (n = {n.count(part.n)})"
    return f"{n.shorten(of.replace('>= ', '≥ '), _ROOM - len(what))}, {what}"


def _scaled(axis: Axis, part: Component, number: float) -> float:
    return number / part.margin if axis.factor is None else number * axis.factor


def _reach(rows: list[Row], axis: Axis) -> float:
    """Wide enough for the endpoints and every margin; a tiny group's interval may run off the axis."""
    parts = [(row.part, row.indent) for row in rows if row.part is not None]

    def of(part: Component, number: float) -> float:
        return abs(_scaled(axis, part, number)) if isfinite(number) else 0.0

    ends = [of(p, v) for p, inner in parts if not inner for v in (p.lower, p.upper)]
    ends += [of(p, p.margin) * 1.25 for p, _ in parts]
    ends += [of(p, p.difference) * 1.15 for p, _ in parts if p.outcome is Outcome.INFERIOR]
    ends += [min(of(p, p.difference), of(p, p.margin) * 3) for p, _ in parts]
    return (max(ends, default=0.0) or 1.0) * 1.12


def _draw_row(axes: Any, place: int, row: Row, axis: Axis, reach: float) -> None:
    across = axes.get_yaxis_transform()
    if row.part is None:
        axes.text(_LABELS, place, row.label, transform=across, va="center", weight="bold", color=MUTED)
        return
    part, colour = row.part, COLOURS[row.part.outcome]
    hollow = part.outcome in (Outcome.INSUFFICIENT, Outcome.NOT_ASSESSED)
    left = _LABELS + 0.035 * row.indent
    axes.text(
        left,
        place,
        row.label if row.indent else n.shorten(row.label, 34),
        transform=across,
        va="center",
        weight="normal" if row.indent else "bold",
    )
    unit = " pp" if n.is_rate(part.name) else ""
    interval = n.interval(part.name, part.lower, part.upper).removesuffix(" pp")
    figures = f"{n.difference(part.name, part.difference).removesuffix(' pp')} ({interval}){unit}"
    axes.text(_FIGURES, place, figures, transform=across, va="center", color=INK)
    words = f"{w.GLYPHS[part.outcome]} {w.WORDS[part.outcome]}"
    axes.text(_OUTCOMES, place, words, transform=across, va="center", color=colour)
    if isfinite(part.margin):
        tick = -_scaled(axis, part, part.margin)
        axes.plot([tick] * 2, [place - 0.36, place + 0.36], color=MARGIN, linewidth=1.6, zorder=2)
    ends = tuple(_scaled(axis, part, v) for v in (part.lower, part.upper))
    _draw_interval(axes, place, ends, colour, reach)
    centre = _scaled(axis, part, part.difference)
    if abs(centre) <= reach:
        fill = "white" if hollow else colour
        axes.plot([centre], [place], "s", markersize=5.5, markerfacecolor=fill, markeredgecolor=colour, zorder=5)


def _draw_interval(axes: Any, place: int, ends: tuple[float, ...], colour: str, reach: float) -> None:
    if not all(isfinite(end) for end in ends):
        return
    low, high = (min(max(end, -reach), reach) for end in ends)
    axes.plot([low, high], [place, place], color=colour, linewidth=1.8, zorder=3, solid_capstyle="butt")
    for end, beyond, marker in ((low, ends[0] < -reach, "<"), (high, ends[1] > reach, ">")):
        if beyond:
            axes.plot([end], [place], marker=marker, color=colour, markersize=5, clip_on=False, zorder=4)
        else:
            axes.plot([end] * 2, [place - 0.12, place + 0.12], color=colour, linewidth=1.4, zorder=3)


def _finish(axes: Any, reach: float, axis: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    across = axes.get_yaxis_transform()
    for x, text in ((_LABELS, "Endpoint"), (_FIGURES, "Difference (interval)"), (_OUTCOMES, "Outcome")):
        axes.text(x, -0.85, text, transform=across, va="center", color=MUTED)
    axes.text(-reach * 0.04, -0.85, "← worse", ha="right", va="center", color=MUTED)
    axes.text(reach * 0.04, -0.85, "better →", ha="left", va="center", color=MUTED)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(lambda value, _: n.signed(value, 2).rstrip("0").rstrip(".") if value else "0")
    axes.grid(axis="x")
    axes.tick_params(axis="x", length=3, color=RULE)
    axes.set_xlabel(axis.title)
