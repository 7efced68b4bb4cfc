"""Time artifacts and their original side by side on this machine: interleaved, each in a fresh process."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from primum.artifact.golden import NAME as GOLDEN
from primum.artifact.manifest import Manifest, read_manifest
from primum.artifact.predictor import Proven
from primum.benchmark.timing import Timings, interleave, summarize
from primum.data.evaluation import materialize
from primum.data.readers import DataOptions, read_data
from primum.errors import InputError
from primum.files import size_of
from primum.models.reference import ModelReference
from primum.progress import Progress, Silent
from primum.workflows.original import open_isolated, original_beside


@dataclass(frozen=True)
class Compared:
    """One contestant. `timings` are against the first contestant."""

    name: str
    size_bytes: int
    proven: Proven
    timings: Timings
    guarded: bool = False
    """Defers to the original now and then: its gain is the ratio of the means (`timings.effective`)."""
    unproven: bool = False
    """Delivered with --accept-inconclusive: nothing shows that it is no worse than the original."""

    @property
    def speedup(self) -> tuple[float, float, float]:
        """Speed-up against the first contestant with its interval: of medians, or of means where it is guarded."""
        t = self.timings
        if self.guarded:
            return t.effective, t.effective_lower, t.effective_upper
        return t.ratio, t.ratio_lower, t.ratio_upper


def compare(
    artifacts: Sequence[Path],
    model: ModelReference | None = None,
    data: Path | None = None,
    options: DataOptions | None = None,
    cases: int = 64,
    rounds: int = 30,
    progress: Progress | None = None,
) -> tuple[Compared, ...]:
    """Time `model` (if given, it comes first) and `artifacts` at batch 1, in the same interleaved run.

    Inputs are `cases` of `data` drawn at random (a file is often sorted by class), or the first artifact's golden
    vectors.
    Raises InputError where the artifacts do not take the same input.
    """
    progress = progress or Silent()
    manifests = [read_manifest(path) for path in artifacts]
    _check_alike(artifacts, manifests)
    known = dict(zip(artifacts, manifests))
    with tempfile.TemporaryDirectory(prefix="primum-") as scratch, contextlib.ExitStack() as stack:
        inputs = _inputs(Path(scratch), artifacts[0], manifests[0], data, options, cases)
        contestants = {str(path): path for path in artifacts}
        original = None
        if model is not None:
            original = original_beside(model, manifests[0], inputs, Path(scratch) / "original")
            contestants = {f"original ({model})": Path(scratch) / "original", **contestants}
        opened: dict[str, Any] = {}
        for name, folder in contestants.items():
            process, facts = open_isolated(folder, inputs, original)
            opened[name] = (stack.enter_context(process), facts)
        progress.stage("Timing, interleaved")
        rows = np.arange(len(np.load(inputs, mmap_mode="r")))
        taken = interleave({name: process for name, (process, _) in opened.items()}, inputs, rows, rounds)
        first = next(iter(opened))
        return tuple(
            Compared(
                name,
                size_of(contestants[name] / "model"),
                facts["proven"],
                summarize(taken[name], taken[first], facts, process, opened[first][0]),
                guarded=contestants[name] in known and known[contestants[name]].guard is not None,
                unproven=contestants[name] in known and known[contestants[name]].unproven,
            )
            for name, (process, facts) in opened.items()
        )


def _check_alike(artifacts: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    if not artifacts:
        raise InputError("give at least one artifact to time")
    for path, manifest in zip(artifacts, manifests):
        if manifest.signature.input_shape != manifests[0].signature.input_shape:
            raise InputError(
                f"{path} takes inputs of {manifest.signature.input_shape}, {artifacts[0]} of "
                f"{manifests[0].signature.input_shape}; they cannot be compared"
            )


def _inputs(
    scratch: Path,
    artifact: Path,
    manifest: Manifest,
    data: Path | None,
    options: DataOptions | None,
    cases: int,
) -> Path:
    path = scratch / "inputs.npy"
    if data is None:
        with np.load(artifact / GOLDEN, allow_pickle=False) as golden:
            np.save(path, golden["inputs"])
        return path
    found = read_data(data, options, manifest.preprocessing)
    drawn = np.random.default_rng(0).permutation(len(found))[:cases]
    few = found.take(np.sort(drawn))
    return materialize(few, manifest.preprocessing, path).path
