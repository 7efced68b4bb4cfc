"""Results of benchmark runs: data, and their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import nan
from pathlib import Path
from typing import Any

from primum.files import write_json


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
