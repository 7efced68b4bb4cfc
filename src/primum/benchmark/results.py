"""Results of benchmark runs: data, their comparison, and their plain-text rendering."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any

from primum.benchmark.statistics import STATISTICS, TOO_SMALL
from primum.errors import InputError, MissingExtra
from primum.files import storage, write_bytes, write_json


@dataclass(frozen=True)
class BenchmarkResult:
    """One approach, timed at batch 1 and, where labels were given, judged. All times in ms."""

    approach_name: str
    num_samples: int
    stage_stats: dict[str, dict[str, Any]]
    """Stage -> mean, median, p50, p95, p99, min, max, stddev, count (and `unsupported`)."""
    accuracy_metrics: dict[str, float]
    """Empty where there were no labels, or where they could not be matched with the answers (`notes` says why)."""
    total_time_avg: float
    """Mean time of the three stages together."""
    timestamp: str
    threads: int | None = None
    precision: str = ""
    """What really ran, read back from the runtime; empty where the wrapper does not say."""
    provider: str = ""
    load_ms: float = nan
    first_ms: float = nan
    """The first prediction after loading, untimed elsewhere: compilers and caches make it slower."""
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    """(negative, positive)."""
    error: str | None = None
    """Why the approach failed; its times are then NaN."""
    speedup: float = nan
    """Median total of `compared_with` / this median, from interleaved rounds; above 1 is faster."""
    speedup_lower: float = nan
    speedup_upper: float = nan
    """Bounds of the 95 % bootstrap interval over rounds."""
    compared_with: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data."""
        return asdict(self)


class ResultsCollector:
    """Gathers results in the order in which they came."""

    def __init__(self) -> None:
        self.results: list[BenchmarkResult] = []

    def add_result(self, result: BenchmarkResult) -> None:
        """Keep one more result."""
        self.results.append(result)

    def get_summary(self) -> dict[str, Any]:
        """How many results there are, the fastest and the most accurate of them, and the failures with reasons."""
        named = self._named()
        timed = {name: r for name, r in named.items() if r.error is None}
        judged = {n: r.accuracy_metrics["accuracy"] for n, r in timed.items() if "accuracy" in r.accuracy_metrics}
        return {
            "num_results": len(named),
            "approaches": list(named),
            "fastest": min(timed, key=lambda name: timed[name].total_time_avg, default=None),
            "most_accurate": max(judged, key=judged.__getitem__, default=None),
            "failed": {name: r.error for name, r in named.items() if r.error is not None},
            "results": {name: r.to_dict() for name, r in named.items()},
        }

    def compare_approaches(self) -> dict[str, dict[str, Any]]:
        """Name -> total_time_avg, total_p95, speedup, accuracy, f1, auroc and more; duplicate names get a suffix.

        `speedup` is against the first result that did not fail (`compared_with`). `interleaved` says whether it comes
        from interleaved rounds, with an interval, or from runs one after the other, which a busy machine can bias.
        What was not measured is NaN. `notes` tell when the machine was too busy for the times to mean much.
        """
        named = self._named()
        first = next((name for name, r in named.items() if r.error is None), None)
        return {name: _row(result, first, named) for name, result in named.items()}

    def save_to_file(self, filepath: str | Path) -> None:
        """Write every result and the comparison as JSON, whole or not at all. StorageError where that fails."""
        write_json(Path(filepath), self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """What `save_to_file` writes."""
        return {"results": [r.to_dict() for r in self.results], "comparison": self.compare_approaches()}

    def _named(self) -> dict[str, BenchmarkResult]:
        return dict(zip(unique_names([r.approach_name for r in self.results]), self.results))


def unique_names(names: Sequence[str]) -> list[str]:
    """The names with _2, _3 ... behind those that came before."""
    taken: list[str] = []
    for name in names:
        number, candidate = 2, name
        while candidate in taken:
            candidate, number = f"{name}_{number}", number + 1
        taken.append(candidate)
    return taken


def _row(result: BenchmarkResult, first: str | None, named: dict[str, BenchmarkResult]) -> dict[str, Any]:
    total, metrics = result.stage_stats.get("total", {}), result.accuracy_metrics
    row: dict[str, Any] = {
        "total_time_avg": result.total_time_avg,
        "total_median": total.get("median", nan),
        "total_p95": total.get("p95", nan),
        "speedup": result.speedup,
        "speedup_lower": result.speedup_lower,
        "speedup_upper": result.speedup_upper,
        "compared_with": result.compared_with,
        "interleaved": result.compared_with is not None,
        "num_samples": result.num_samples,
        **{key: metrics.get(key, nan) for key in ("accuracy", "precision", "recall", "f1", "auroc")},
        "load_ms": result.load_ms,
        "first_ms": result.first_ms,
        "threads": result.threads,
        "runs_at": result.precision,
        "notes": result.notes,
        "error": result.error,
    }
    if result.compared_with is None and result.error is None and first is not None:
        row["compared_with"] = first
        row["speedup"] = named[first].stage_stats["total"]["median"] / total["median"]
    return row


def save(collector: ResultsCollector, output_dir: Path) -> dict[str, Path]:
    """Write results.json, results.txt and the figures; returns kind -> path.

    All appear together or (StorageError) none does. Without matplotlib the figures are left out, and results.txt says
    so. InputError before the first result.
    """
    if not collector.results:
        raise InputError("there are no results to save; run a benchmark first")
    figures, notes = _figures(collector.results)
    with storage(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=".results-", dir=output_dir)
    names = {"json": "results.json", "txt": "results.txt"} | {kind: f"{kind}.png" for kind in figures}
    with scratch as place:
        staged = Path(place)
        write_json(staged / names["json"], collector.to_dict())
        write_bytes(staged / names["txt"], render_text(collector.results, notes).encode())
        for kind, png in figures.items():
            write_bytes(staged / names[kind], png)
        with storage(output_dir):
            for name in names.values():
                (staged / name).replace(output_dir / name)
            # A figure of an earlier run would contradict these results.
            for kind in {"confusion_matrix", "metrics", "timings"} - set(figures):
                (output_dir / f"{kind}.png").unlink(missing_ok=True)
    return {kind: output_dir / name for kind, name in names.items()}


def _figures(results: Sequence[BenchmarkResult]) -> tuple[dict[str, bytes], list[str]]:
    from primum.benchmark import figures

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
