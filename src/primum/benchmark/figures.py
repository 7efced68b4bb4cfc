"""Figures of results as PNG bytes. matplotlib is imported when one is drawn; MissingExtra where it is absent."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from primum.benchmark.results import BenchmarkResult, unique_names
from primum.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito: told apart with any colour vision, and in grey by lightness.
_BLUE, _ORANGE, _GREEN, _PINK, _SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"
_STAGES = {"preprocessing": _SKY, "feature_extraction": _BLUE, "classification": _ORANGE}
_APPROACHES = (_BLUE, _ORANGE, _GREEN, _PINK, _SKY, "#D55E00", "#000000")
_METRICS = ("accuracy", "sensitivity", "specificity", "precision", "f1", "auroc")
_DPI = 150
_GREY = "#555555"


def timings(results: Sequence[BenchmarkResult]) -> bytes:
    """Median time of each stage, stacked by approach, with the total's p95 where the sample supports one."""
    figure = _figure(8.5, 1.7 + 0.62 * len(results))
    axes = figure.subplots()
    rows = np.arange(len(results))
    left = np.zeros(len(results))
    for stage, color in _STAGES.items():
        widths = np.array([_median(r, stage) for r in results])
        axes.barh(rows, widths, left=left, height=0.58, color=color, label=stage.replace("_", " "))
        left += widths
    totals = [r.stage_stats["total"] for r in results]
    p95 = np.array([t["p95"] for t in totals])
    axes.plot(
        p95, rows, linestyle="none", marker="|", markersize=12, markeredgewidth=2, color="black", label="total, p95"
    )
    widest = float(np.nanmax([*left, *p95]))
    for row, total in enumerate(totals):
        tail = "p95: n too small" if np.isnan(total["p95"]) else f"p95 {total['p95']:.3g}"
        end = max(left[row], 0 if np.isnan(total["p95"]) else total["p95"])
        axes.text(
            end + 0.015 * widest, row, f"median {total['median']:.3g}, {tail}", va="center", fontsize=8, color=_GREY
        )
    axes.set_xlim(0, widest * 1.38)
    _name_rows(axes, _names(results))
    axes.set_xlabel("milliseconds per image, batch 1")
    _plain(axes)
    figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=8)
    return _png(figure)


def confusion_matrices(results: Sequence[BenchmarkResult]) -> bytes:
    """One matrix of counts for each judged approach; shading is the share of the true class."""
    columns = min(3, len(results))
    rows = ceil(len(results) / columns)
    figure = _figure(3.6 * columns, 3.6 * rows)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, result, name in zip(grid, results, _names(results)):
        _matrix(axes, result, name)
    for axes in grid[len(results) :]:
        axes.set_visible(False)
    return _png(figure)


def metrics(results: Sequence[BenchmarkResult]) -> bytes:
    """Accuracy, sensitivity, specificity, precision, F1 and AUROC, one dot an approach, on one scale from 0 to 1."""
    figure = _figure(7.5, 1.6 + 0.36 * len(_METRICS) * (1 + 0.25 * len(results)))
    axes = figure.subplots()
    rows = np.arange(len(_METRICS))
    spread = np.linspace(-0.3, 0.3, len(results)) if len(results) > 1 else np.zeros(1)
    for i, (result, name) in enumerate(zip(results, _names(results))):
        values = np.array([result.accuracy_metrics.get(m, np.nan) for m in _METRICS], dtype=float)
        marker = "osD^vPX"[i % 7]
        axes.plot(values, rows + spread[i], marker, color=_APPROACHES[i % 7], label=name, markersize=6)
        for row, value in enumerate(values):
            said = "undefined" if np.isnan(value) else f"{value:.3f}"
            axes.text(1.03, row + spread[i], said, va="center", fontsize=8, color=_GREY)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(len(_METRICS) - 0.5, -0.5)
    axes.set_yticks(rows, ["F1" if m == "f1" else "AUROC" if m == "auroc" else m for m in _METRICS])
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.7)
    _plain(axes)
    figure.legend(loc="outside upper left", ncols=min(len(results), 3), frameon=False, fontsize=8)
    return _png(figure)


def optimizations(rows: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Speedup (with its 95 % interval) and size of optimized models against the original, at 1."""
    figure = _figure(8.5, 1.4 + 0.5 * len(rows))
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(rows))
    for place, row in zip(places, rows.values()):
        left.plot([row["speedup_lower"], row["speedup_upper"]], [place, place], color=_BLUE, linewidth=2)
        left.plot([row["speedup"]], [place], "o", color=_BLUE)
    right.barh(places, [row["size_ratio"] for row in rows.values()], height=0.5, color=_ORANGE)
    for axes, label in ((left, "times as fast as the original"), (right, "size, share of the original's")):
        axes.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
        axes.set_xlabel(label)
        axes.set_xlim(0, 1.05 * max(1.0, axes.get_xlim()[1]))
        _plain(axes)
    _name_rows(left, list(rows))
    return _png(figure)


def _matrix(axes: Axes, result: BenchmarkResult, name: str) -> None:
    m = result.accuracy_metrics
    counts = np.array(
        [[m["true_negatives"], m["false_positives"]], [m["false_negatives"], m["true_positives"]]], dtype=float
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{int(counts[row, column])}\n{share:.0%}" if counts[row].sum() else "0"
        color = "white" if share > 0.55 else "black"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=11)
    names = result.classes if len(result.classes) == 2 else ("0", "1")
    labels = [textwrap.shorten(n, 16, placeholder="…") for n in names]
    axes.set_xticks([0, 1], labels)
    axes.set_yticks([0, 1], labels, rotation=90, va="center")
    axes.set_xlabel("answered")
    axes.set_ylabel("true")
    axes.set_title(name, fontsize=10)
    axes.tick_params(length=0)


def _median(result: BenchmarkResult, stage: str) -> float:
    return float(result.stage_stats.get(stage, {}).get("median", 0.0))


def _names(results: Sequence[BenchmarkResult]) -> list[str]:
    return unique_names([r.approach_name for r in results])


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [textwrap.fill(name, 26) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)


def _plain(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("drawing figures", "optimize") from error
    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Figure) -> bytes:
    """The figure drawn by Agg, which needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
