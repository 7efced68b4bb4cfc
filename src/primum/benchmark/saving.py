"""Results of benchmark runs as files: JSON, plain text, PNG."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

from primum.benchmark import figures
from primum.benchmark.results import BenchmarkResult, ResultsCollector, unique_names
from primum.benchmark.statistics import STATISTICS, TOO_SMALL
from primum.errors import InputError, MissingExtra
from primum.files import storage, write_bytes, write_json


def save(collector: ResultsCollector, output_dir: Path) -> dict[str, Path]:
    """Write results.json, results.txt and the figures; returns kind -> path.

    All appear together or (StorageError) none does. Without matplotlib the figures are left out, and results.txt says
    so. InputError before the first result.
    """
    if not collector.results:
        raise InputError("there are no results to save; run a benchmark first")
    drawn, notes = _draw(collector.results)
    with storage(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=".results-", dir=output_dir)
    names = {"json": "results.json", "txt": "results.txt"} | {kind: f"{kind}.png" for kind in drawn}
    with scratch as place:
        staged = Path(place)
        write_json(staged / names["json"], collector.to_dict())
        write_bytes(staged / names["txt"], render_text(collector.results, notes).encode())
        for kind, png in drawn.items():
            write_bytes(staged / names[kind], png)
        with storage(output_dir):
            for name in names.values():
                (staged / name).replace(output_dir / name)
            # A figure of an earlier run would contradict these results.
            for kind in {"confusion_matrix", "metrics", "timings"} - set(drawn):
                (output_dir / f"{kind}.png").unlink(missing_ok=True)
    return {kind: output_dir / name for kind, name in names.items()}


def _draw(results: Sequence[BenchmarkResult]) -> tuple[dict[str, bytes], list[str]]:
    timed = [r for r in results if r.error is None]
    judged = [r for r in timed if r.accuracy_metrics]
    try:
        drawn = {"timings": figures.timings(timed)} if timed else {}
        if judged:
            drawn |= {"confusion_matrix": figures.confusion_matrices(judged), "metrics": figures.metrics(judged)}
    except MissingExtra as error:
        return {}, [f"figures left out: {error}"]
    return drawn, []


def render_text(results: Sequence[BenchmarkResult], notes: Sequence[str] = ()) -> str:
    """The results as plain text for a terminal or a .txt file; percentiles without support say "n too small"."""
    names = unique_names([r.approach_name for r in results])
    blocks = [_block(name, result) for name, result in zip(names, results)]
    blocks += ["\n".join(notes)] if notes else []
    return "\n\n".join(["Benchmark, batch 1, times in ms", *blocks]) + "\n"


def _block(name: str, r: BenchmarkResult) -> str:
    if r.error is not None:
        return f"{name}\n  FAILED: {r.error}"
    facts = [f"{r.num_samples} images", r.precision or "precision not stated", r.provider]
    facts += [f"{r.threads} thread(s)"] if r.threads else []
    lines = [name, "  " + ", ".join(fact for fact in facts if fact)]
    lines.append(f"  loading {_number(r.load_ms)}, first prediction {_number(r.first_ms)}")
    lines.append("  " + f"{'stage':<20}" + "".join(f"{s:>12}" for s in STATISTICS))
    for stage, stats in r.stage_stats.items():
        lines.append("  " + f"{stage:<20}" + "".join(f"{_statistic(stats, s):>12}" for s in STATISTICS))
    if r.compared_with is not None and r.compared_with != r.approach_name:
        between = "" if isnan(r.speedup_lower) else f" (95 % interval {r.speedup_lower:.2f} to {r.speedup_upper:.2f})"
        lines.append(f"  {r.speedup:.2f} times as fast as {r.compared_with}{between}")
    if r.accuracy_metrics:
        lines.append(f"  positive class: {r.classes[1] if len(r.classes) == 2 else 'label 1'}")
        lines += [f"  {key:<20}{_metric(value):>12}" for key, value in r.accuracy_metrics.items()]
    return "\n".join([*lines, *(f"  note: {note}" for note in r.notes)])


def _statistic(stats: dict[str, Any], name: str) -> str:
    return TOO_SMALL if name in stats.get("unsupported", ()) else _number(stats[name])


def _metric(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "undefined" if isnan(value) else f"{value:.4f}"


def _number(value: float) -> str:
    return "not measured" if isnan(value) else f"{value:.3f}"
