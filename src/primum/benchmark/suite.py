"""Times inference approaches stage by stage, judges them against labels, and compares them in interleaved rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from primum.benchmark.base import BaseInferenceWrapper
from primum.benchmark.results import BenchmarkResult, ResultsCollector, unique_names
from primum.benchmark.saving import save
from primum.benchmark.statistics import bootstrap_ratio
from primum.benchmark.timer import StageTimer, contention, preemptions
from primum.data.dataset_loader import DatasetLoader
from primum.errors import InputError
from primum.validation.metrics import calculate_classification_metrics

Labels = Sequence[int] | Sequence[str] | NDArray[Any]
_ROUNDS = 20
_REWARM = 2


@dataclass
class _Run:
    """One wrapper under way."""

    name: str
    wrapper: BaseInferenceWrapper
    timer: StageTimer = field(default_factory=StageTimer)
    answers: dict[int, Any] = field(default_factory=dict)
    blocks: list[list[float]] = field(default_factory=list)
    first_ms: float = nan
    preempted: int = 0
    error: str | None = None


class BenchmarkSuite:
    """Runs wrappers on the first `num_samples` images of a folder, after `num_warmup` untimed predictions each."""

    def __init__(self, image_dir: str | Path, num_samples: int = 1000, num_warmup: int = 10, *, seed: int = 0) -> None:
        if num_warmup < 0:
            raise InputError(f"num_warmup cannot be negative, got {num_warmup}")
        self.loader = DatasetLoader(image_dir, max_images=num_samples)
        self.num_warmup, self.seed = num_warmup, seed
        self.collector = ResultsCollector()

    def load_images(self) -> list[Image.Image]:
        """The images, decoded. InputError where the folder is missing or empty, or an image is corrupt."""
        return self.loader.load_images()

    def run_benchmark(
        self, wrapper: BaseInferenceWrapper, images: Sequence[Any], labels: Labels | None = None
    ) -> BenchmarkResult:
        """Time `wrapper` on every image once and, with `labels`, judge its answers.

        `labels` are 0/1 (1 is positive) or class names, one an image. Whatever the wrapper raises is raised. InputError
        where labels and images differ in number.
        """
        _check(images, labels, [wrapper])
        run = _Run(wrapper.name, wrapper)
        _warm_up(run, images, self.num_warmup)
        _time_all(run, range(len(images)), images)
        result = _result(run, len(images), labels)
        self.collector.add_result(result)
        return result

    def run_comparison(
        self, wrappers: Sequence[BaseInferenceWrapper], images: Sequence[Any], labels: Labels | None = None
    ) -> dict[str, dict[str, Any]]:
        """Time all wrappers in interleaved rounds, in a new seeded order each round: on a shared machine, runs one
        after the other compare minutes, not approaches.

        Returns name -> total_time_avg, speedup against the first wrapper with its interval, accuracy and more, as
        `ResultsCollector.compare_approaches`; duplicate names get a suffix. A wrapper that fails is a row with its
        `error` and NaN times. Every image is timed once for each wrapper.
        """
        if not wrappers:
            raise InputError("run_comparison needs at least one wrapper")
        _check(images, labels, wrappers)
        runs = [_Run(name, w) for name, w in zip(unique_names([w.name for w in wrappers]), wrappers)]
        for run in runs:
            _guarded(run, _warm_up, images, self.num_warmup)
        generator = np.random.default_rng(self.seed)
        for block in np.array_split(np.arange(len(images)), min(_ROUNDS, len(images))):
            for position in generator.permutation(len(runs)):
                _guarded(runs[position], _block, block, images)
        results = _with_speedups(runs, [_result(run, len(images), labels) for run in runs], self.seed)
        own = ResultsCollector()
        for result in results:
            own.add_result(result)
            self.collector.add_result(result)
        return own.compare_approaches()

    def save_results(self, output_dir: str | Path) -> dict[str, Path]:
        """Write every result so far: results.json, results.txt, timings.png and, where there is accuracy,
        confusion_matrix.png and metrics.png. Returns kind -> path.

        All files appear together or (StorageError) none does. Without matplotlib the figures are left out, and
        results.txt says so. InputError before the first result.
        """
        return save(self.collector, Path(output_dir))


def _check(images: Sequence[Any], labels: Labels | None, wrappers: Sequence[BaseInferenceWrapper]) -> None:
    if not len(images):
        raise InputError("there are no images to run on")
    if labels is None:
        return
    if len(labels) != len(images):
        raise InputError(f"{len(labels)} labels for {len(images)} images; one label an image is needed")
    for wrapper in wrappers:
        names = wrapper.classes or _classes(labels)
        wrong = next((x for x in labels if _position(x, names) < 0), None)
        if wrong is not None:
            known = f"one of {wrapper.name}'s classes {', '.join(names)}" if names else "one of two class names"
            raise InputError(f"the label {str(wrong)!r} is neither 0, 1 nor {known}; set classes=(negative, positive)")


def _guarded(run: _Run, step: Callable[..., None], *arguments: Any) -> None:
    if run.error is not None:
        return
    try:
        step(run, *arguments)
    # One approach of several: whatever it raises is its result, and the others go on.
    except Exception as error:  # noqa: BLE001
        first = (str(error).strip().splitlines() or [""])[0]
        run.error = f"{type(error).__name__}: {first}" if first else type(error).__name__


def _warm_up(run: _Run, images: Sequence[Any], count: int) -> None:
    run.wrapper.prepare(images[0])
    began = time.perf_counter()
    _stages(run.wrapper, images[0])
    run.first_ms = (time.perf_counter() - began) * 1e3
    for i in range(count):
        _stages(run.wrapper, images[i % len(images)])


def _block(run: _Run, block: NDArray[np.int64], images: Sequence[Any]) -> None:
    run.wrapper.prepare(images[0])
    for index in block[:_REWARM]:  # others ran in between: their data fill the caches
        _stages(run.wrapper, images[index])
    _time_all(run, block, images)
    run.blocks.append(run.timer.get_timings("total")[-len(block) :])


def _stages(wrapper: BaseInferenceWrapper, image: Any) -> Any:
    return wrapper.classify(wrapper.extract_features(wrapper.preprocess(image)))


def _time_all(run: _Run, rows: Iterable[int], images: Sequence[Any]) -> None:
    before = preemptions()
    for row in rows:
        _timed(run, int(row), images[row])
    run.preempted += preemptions() - before


def _timed(run: _Run, index: int, image: Any) -> None:
    wrapper, timer = run.wrapper, run.timer
    with timer.time_stage("total"):
        with timer.time_stage("preprocessing"):
            data = wrapper.preprocess(image)
        with timer.time_stage("feature_extraction"):
            features = wrapper.extract_features(data)
        with timer.time_stage("classification"):
            answer = wrapper.classify(features)
    run.answers[index] = answer


def _result(run: _Run, count: int, labels: Labels | None) -> BenchmarkResult:
    wrapper, failed = run.wrapper, run.error is not None
    stats = {} if failed else run.timer.get_all_statistics()
    metrics, notes = ({}, ()) if failed else _judge([run.answers[i] for i in range(count)], wrapper.classes, labels)
    busy = contention(run.preempted, count)
    return BenchmarkResult(
        approach_name=run.name,
        num_samples=0 if failed else count,
        stage_stats=stats,
        accuracy_metrics=metrics,
        total_time_avg=stats["total"]["mean"] if stats else nan,
        timestamp=datetime.now(UTC).isoformat(timespec="seconds"),
        threads=wrapper.threads,
        precision=wrapper.precision,
        provider=wrapper.provider,
        load_ms=nan if wrapper.load_ms is None else wrapper.load_ms,
        first_ms=run.first_ms,
        notes=(*wrapper.notes, *notes, *([busy] if busy and not failed else [])),
        classes=wrapper.classes or _classes(labels),
        error=run.error,
    )


def _with_speedups(runs: Sequence[_Run], results: Sequence[BenchmarkResult], seed: int) -> list[BenchmarkResult]:
    first = next((run for run in runs if run.error is None), None)
    out = []
    for run, result in zip(runs, results):
        if first is not None and run.error is None:
            # Blocks differ by one image at most; the paired interval needs equal ones.
            calls = min(len(block) for block in run.blocks)
            reference = [block[:calls] for block in first.blocks]
            ratio, lower, upper = bootstrap_ratio(reference, [block[:calls] for block in run.blocks], seed)
            result = replace(result, speedup=ratio, speedup_lower=lower, speedup_upper=upper, compared_with=first.name)
        out.append(result)
    return out


def _classes(labels: Labels | None) -> tuple[str, ...]:
    """Two class names in alphabetical order where labels are names, the second being positive; else none."""
    if labels is None or not all(isinstance(label, str) for label in labels):
        return ()
    names = tuple(sorted({str(label) for label in labels}))
    return names if len(names) == 2 else ()


def _judge(
    answers: Sequence[Any], classes: tuple[str, ...], labels: Labels | None
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Metrics of (class name, confidence) answers against 0/1 labels or class names, and notes.

    `classes` is (negative, positive); empty, it is taken from labels that are names. Metrics are empty, with a note,
    where answers cannot be matched with labels. A NaN confidence counts as a wrong answer.
    """
    pairs = [a for a in answers if isinstance(a, tuple) and len(a) == 2]
    if len(pairs) < len(answers):
        return {}, ("classify did not return (class name, confidence): timed, not judged",)
    if labels is None:
        return {}, ()
    notes: tuple[str, ...] = ()
    names = classes or _classes(labels)
    if names and not classes:
        notes += (f"classes taken from the labels; positive: {names[1]}",)
    if len(names) != 2:
        return {}, ("not judged: the wrapper names no classes=(negative, positive), so 0/1 labels have no meaning",)
    truth = np.array([_position(label, names) for label in labels])
    decided = np.array([_position(name, names) for name, _ in pairs])
    confidence = np.array([float(value) for _, value in pairs])
    if (decided < 0).any():
        return {}, (*notes, f"not judged: some answers are none of the classes {', '.join(names)}")
    missing = np.isnan(confidence)
    decided = np.where(missing, 1 - truth, decided)
    positive = np.where(missing, decided, np.where(decided == 1, confidence, 1 - confidence))
    if missing.any():
        notes += (f"{int(missing.sum())} answer(s) were NaN and count as wrong",)
    metrics = calculate_classification_metrics(truth, decided, positive)
    undefined = [name for name, value in metrics.items() if isnan(value)]
    notes += (f"undefined on these labels: {', '.join(undefined)}",) if undefined else ()
    return metrics, notes


def _position(label: Any, names: tuple[str, ...]) -> int:
    """0 or 1, or -1 where `label` is neither. Names go first: a class may be called "1"."""
    if isinstance(label, str):
        return names.index(label) if label in names else -1
    return int(label) if label in (0, 1) else -1
