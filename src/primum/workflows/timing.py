"""Latency by stage, from the raw image to the decision."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from primum.benchmark.statistics import calculate_stage_statistics
from primum.data.sources import FolderSource, ZipSource
from primum.study.runner import Runner

STAGE_BLOCK = 10


def stage_timings(runner: Runner, winner: str, images: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Latency by stage from the raw image to the decision, "original" and "delivered" in turn, in ms."""
    rows = np.resize(runner.judging.split.selection, images)
    raw = [_raw_image(runner.judging.data.cases, int(row)) for row in rows]
    with contextlib.ExitStack() as stack:
        keys = {"original": runner.baseline_key, "delivered": winner}
        processes = {name: stack.enter_context(runner.session(key)[0]) for name, key in keys.items()}
        taken: dict[str, list[dict[str, Any]]] = {name: [] for name in keys}
        for start in range(0, len(raw), STAGE_BLOCK):
            for name, process in processes.items():
                taken[name].append(process.stages(raw[start : start + STAGE_BLOCK]))
    return {
        name: {
            stage: calculate_stage_statistics(np.concatenate([block[stage] for block in blocks])) for stage in blocks[0]
        }
        for name, blocks in taken.items()
    }


def _raw_image(cases: Any, row: int) -> Any:
    position = int(cases.index[row])
    encoded = isinstance(cases.source, FolderSource | ZipSource)
    return cases.source.content(position) if encoded else cases.source.item(position)
