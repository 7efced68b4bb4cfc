"""Interleaved timing of candidates, each in a fresh process: on a shared machine only paired ratios mean anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from primum.benchmark.statistics import bootstrap_ratio, calculate_stage_statistics
from primum.benchmark.turn import timing_turn
from primum.runtimes.isolated import Isolated

_BLOCK_MS = 40.0
_ROUND_LIMIT_MS = 600.0
_CONTENDED = 1.5
_PREEMPTED = 2.0
"""Involuntary context switches a call above which neighbours, not the model, were timed."""


@dataclass(frozen=True)
class Timings:
    """Latency of one call at batch 1, in ms. A percentile that the sample cannot support is NaN ("n too small").

    `ratio` is baseline median / this median (above 1 is faster), from the same interleaved rounds, with a bootstrap
    interval over rounds. `effective` is the same of each round's mean: what is saved in the long run by a model whose
    calls cost differently, as a guarded one's do. `ratio_unhindered` is the same of the 10th percentiles: what holds
    when nothing else runs. `contended` says that other work slowed either of them, so that these figures should be
    taken again. `load_ms` and `first_ms` are the fresh process's loading and first call.
    """

    calls: int
    mean: float
    median: float
    p50: float
    p95: float
    p99: float
    min: float
    max: float
    stddev: float
    ratio: float
    ratio_lower: float
    ratio_upper: float
    effective: float
    effective_lower: float
    effective_upper: float
    ratio_unhindered: float
    contended: bool
    load_ms: float
    first_ms: float
    peak_memory_bytes: int
    batch: int = 1

    @property
    def original_median(self) -> float:
        """The baseline's median in the same rounds."""
        return self.ratio * self.median


def interleave(
    sessions: Mapping[str, Isolated], inputs: Path, rows: NDArray[np.int64], rounds: int, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """Time every session in turn, in a new random order each round.

    Returns milliseconds by name, shape (rounds, calls); one round more is run first and thrown away. The number of
    calls a block grows for fast models, so that a block lasts long enough to be timed. Other timings on this machine
    wait meanwhile.
    """
    with timing_turn():
        return _interleave(sessions, inputs, rows, rounds, seed)


def _interleave(
    sessions: Mapping[str, Isolated], inputs: Path, rows: NDArray[np.int64], rounds: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    probe = {name: float(np.median(s.time(inputs, rows[:4]))) for name, s in sessions.items()}
    calls = int(np.clip(_BLOCK_MS / max(min(probe.values()), 1e-3), 10, 400))
    calls = max(4, min(calls, int(_ROUND_LIMIT_MS / max(max(probe.values()), 1e-3))))
    taken: dict[str, list[NDArray[np.float64]]] = {name: [] for name in sessions}
    for number in range(rounds + 1):
        block = np.resize(np.roll(rows, -number * calls), calls)
        for name in generator.permutation(list(sessions)):
            result = sessions[name].time(inputs, block)
            if number:
                taken[name].append(result)
    return {name: np.stack(blocks) for name, blocks in taken.items()}


def summarize(
    own: NDArray[np.float64],
    baseline: NDArray[np.float64],
    opened: Mapping[str, float],
    process: Isolated,
    baseline_process: Isolated,
) -> Timings:
    """Statistics of one candidate's rounds (rounds, calls), paired with the baseline's of the same run."""
    stats = calculate_stage_statistics(own.ravel())
    ratio, lower, upper = bootstrap_ratio(baseline, own)
    effective, effective_lower, effective_upper = bootstrap_ratio(
        baseline.mean(axis=1, keepdims=True), own.mean(axis=1, keepdims=True)
    )
    fast, fast_baseline = float(np.percentile(own, 10)), float(np.percentile(baseline, 10))
    return Timings(
        calls=int(own.size),
        mean=stats["mean"],
        median=stats["median"],
        p50=stats["p50"],
        p95=stats["p95"],
        p99=stats["p99"],
        min=stats["min"],
        max=stats["max"],
        stddev=stats["stddev"],
        ratio=ratio,
        ratio_lower=lower,
        ratio_upper=upper,
        effective=effective,
        effective_lower=effective_lower,
        effective_upper=effective_upper,
        ratio_unhindered=fast_baseline / fast,
        contended=bool(
            np.median(own) > _CONTENDED * fast
            or np.median(baseline) > _CONTENDED * fast_baseline
            or max(process.preemptions(), baseline_process.preemptions()) > _PREEMPTED
        ),
        load_ms=float(opened["load_ms"]),
        first_ms=float(opened["first_ms"]),
        peak_memory_bytes=process.peak_memory(),
    )
