"""Times optimized torch models beside their original and says how far their outputs differ.

Agreement of outputs is no accuracy: it needs no labels and proves nothing about patients.
"""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.benchmark.results import unique_names
from primum.benchmark.statistics import TOO_SMALL, bootstrap_ratio, calculate_stage_statistics
from primum.benchmark.timer import contention, preemptions
from primum.errors import InputError, MissingExtra
from primum.files import write_bytes, write_json

Model = Callable[..., Any]
InputGenerator = Callable[..., Any]
_CHECKED = 8
_REWARM = 2
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class OptimizationBenchmark:
    """An original model, and models made from it, timed on the same inputs in interleaved rounds.

    `input_generator` gives one input batch a call: a tensor, a tuple of arguments or a dict of keyword arguments. It is
    called without arguments, or with `batch_size` where it takes one. `rounds` blocks of `calls` calls are timed for
    each model, in a new seeded order each round, after one round that is thrown away.
    """

    def __init__(
        self,
        model: Model,
        input_generator: InputGenerator,
        *,
        batch_size: int = 1,
        rounds: int = 10,
        calls: int = 10,
        seed: int = 0,
    ) -> None:
        if min(batch_size, rounds, calls) < 1:
            raise InputError("batch_size, rounds and calls must be at least 1")
        self.model, self.rounds, self.calls, self.seed = model, rounds, calls, seed
        self._inputs = [_generate(input_generator, batch_size) for _ in range(max(_CHECKED, calls))]
        self.original: dict[str, Any] | None = None
        self.optimized: dict[str, dict[str, Any]] = {}
        self._preempted, self._timed = 0, 0

    def benchmark_original_model(self) -> dict[str, Any]:
        """Latency statistics (ms a call) and `size_bytes` of the original, timed alone."""
        taken = self._interleave({"original": self.model})["original"]
        self.original = {**calculate_stage_statistics(taken.ravel()), "size_bytes": size_bytes(self.model)}
        return self.original

    def benchmark_optimized_model(self, model: Model, name: str) -> dict[str, Any]:
        """Time `model` beside the original and compare their outputs; whatever the model raises is raised.

        Returns latency statistics (ms), `speedup` (median original / median optimized, from the same rounds) with
        `speedup_lower` and `speedup_upper`, `size_bytes`, `size_ratio`, `max_abs_difference` and
        `mean_abs_difference` of the outputs. A name used before gets a suffix.
        """
        name = unique_names([*self.optimized, name])[-1]
        taken = self._interleave({"original": self.model, name: model})
        if self.original is None:
            self.original = {
                **calculate_stage_statistics(taken["original"].ravel()),
                "size_bytes": size_bytes(self.model),
            }
        ratio, lower, upper = bootstrap_ratio(taken["original"], taken[name], self.seed)
        size, before = size_bytes(model), self.original["size_bytes"]
        self.optimized[name] = {
            **calculate_stage_statistics(taken[name].ravel()),
            "speedup": ratio,
            "speedup_lower": lower,
            "speedup_upper": upper,
            "size_bytes": size,
            "size_ratio": size / before if size is not None and before else nan,
            **self._agreement(model),
            "error": None,
        }
        return self.optimized[name]

    def compare_optimizations(self) -> dict[str, dict[str, Any]]:
        """Name -> speedup with its interval, size_ratio, max_abs_difference, median, p95 and error; fastest first."""
        keys = (
            *("speedup", "speedup_lower", "speedup_upper", "size_ratio", "max_abs_difference"),
            *("mean_abs_difference", "median", "p95", "error"),
        )
        rows = {name: {key: row.get(key, nan) for key in keys} for name, row in self.optimized.items()}
        return dict(sorted(rows.items(), key=lambda item: -np.nan_to_num(item[1]["speedup"], nan=-1.0)))

    def generate_report(self, output_dir: str | Path | None = None) -> dict[str, Any]:
        """Original, optimized models and their comparison as one dictionary.

        With `output_dir`, also optimization.json, optimization.txt and (with matplotlib) optimization.png in it.
        InputError before anything was timed.
        """
        if self.original is None:
            raise InputError("nothing was timed yet: call benchmark_original_model() first")
        report: dict[str, Any] = {
            "original": self.original,
            "optimized": self.optimized,
            "comparison": self.compare_optimizations(),
            "notes": [
                f"{self.rounds} interleaved rounds of {self.calls} calls each; speedups are paired within rounds",
                "differences of outputs are agreement with the original, not accuracy: no labels were used",
            ],
        }
        if busy := contention(self._preempted, self._timed):
            report["notes"].append(busy)
        if output_dir is not None:
            _write(report, Path(output_dir))
        return report

    def record_failure(self, name: str, error: Exception) -> None:
        """Keep a model that failed as a result with its reason."""
        name = unique_names([*self.optimized, name])[-1]
        first = (str(error).strip().splitlines() or [""])[0]
        self.optimized[name] = {"error": f"{type(error).__name__}: {first}"}

    def _interleave(self, models: Mapping[str, Model]) -> dict[str, NDArray[np.float64]]:
        """Milliseconds by name, shape (rounds, calls)."""
        generator = np.random.default_rng(self.seed)
        taken = {name: np.empty((self.rounds, self.calls)) for name in models}
        with _inference(models.values()):
            for number in range(-1, self.rounds):
                for name in generator.permutation(list(models)):
                    before = preemptions()
                    times = self._block(models[name])
                    if number >= 0:
                        self._preempted += preemptions() - before
                        self._timed += self.calls
                        taken[name][number] = times
        return taken

    def _block(self, model: Model) -> list[float]:
        for inputs in self._inputs[:_REWARM]:
            _call(model, _own(inputs))
        taken = []
        for inputs in self._inputs[: self.calls]:
            own = _own(inputs)
            began = time.perf_counter_ns()
            _call(model, own)
            taken.append((time.perf_counter_ns() - began) / 1e6)
        return taken

    def _agreement(self, model: Model) -> dict[str, float]:
        """Largest and mean absolute difference of outputs on the same inputs; NaN where shapes differ."""
        differences: list[NDArray[np.float64]] = []
        with _inference([self.model, model]):
            for inputs in self._inputs[:_CHECKED]:
                ours, theirs = _flat(_call(self.model, _own(inputs))), _flat(_call(model, _own(inputs)))
                same = [a.shape for a in ours] == [b.shape for b in theirs]
                differences += [np.abs(a - b).ravel() for a, b in zip(ours, theirs)] if same else [np.array([nan])]
        joined = np.concatenate(differences) if differences else np.array([nan])
        return {"max_abs_difference": float(joined.max()), "mean_abs_difference": float(joined.mean())}


def benchmark_optimizations(
    original: Model, optimized: Mapping[str, Model], input_generator: InputGenerator, **options: Any
) -> dict[str, Any]:
    """`OptimizationBenchmark`'s report on a dictionary of optimized models; one that fails is a row with its error."""
    output_dir = options.pop("output_dir", None)
    benchmark = OptimizationBenchmark(original, input_generator, **options)
    benchmark.benchmark_original_model()
    for name, model in optimized.items():
        try:
            benchmark.benchmark_optimized_model(model, name)
        # One model of several: whatever it raises is its result, and the others go on.
        except Exception as error:  # noqa: BLE001
            benchmark.record_failure(name, error)
    return benchmark.generate_report(output_dir)


def size_bytes(model: Any) -> int | None:
    """Bytes of every tensor in the model's state dict, packed quantized weights included; None without one."""
    if not hasattr(model, "state_dict"):
        return None
    return sum(int(t.numel() * t.element_size()) for t in _tensors(model.state_dict()))


def _tensors(value: Any) -> Iterator[Any]:
    if hasattr(value, "element_size"):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _generate(generator: InputGenerator, batch_size: int) -> Any:
    parameters = inspect.signature(generator).parameters.values()
    # A parameter with a default may be anything (`lambda x=example: x`), unless its name says what it is.
    takes = any(p.name == "batch_size" or (p.default is p.empty and p.kind in _POSITIONAL) for p in parameters)
    return generator(batch_size) if takes else generator()


def _call(model: Model, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def _own(inputs: Any) -> Any:
    """A copy for one call: a model that changes its input in place changes what no other is asked."""
    if hasattr(inputs, "detach"):
        return inputs.detach().clone()
    if type(inputs) in (tuple, list):
        return type(inputs)(map(_own, inputs))
    if type(inputs) is dict:
        return {name: _own(value) for name, value in inputs.items()}
    return copy.deepcopy(inputs)


class _inference:
    """Evaluation mode without gradients; each model's own mode is given back."""

    def __init__(self, models: Any) -> None:
        self._modes = [(m, m.training) for m in models if hasattr(m, "training") and hasattr(m, "eval")]

    def __enter__(self) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingExtra("timing torch models", "optimize") from error
        self._guard = torch.inference_mode()
        self._guard.__enter__()
        for model, _ in self._modes:
            model.eval()

    def __exit__(self, *details: Any) -> None:
        for model, mode in self._modes:
            model.train(mode)
        self._guard.__exit__(*details)


def _flat(output: Any) -> list[NDArray[np.float64]]:
    return [t.detach().cpu().float().numpy().astype(np.float64) for t in _tensors(output)]


def _write(report: Mapping[str, Any], folder: Path) -> None:
    from primum.benchmark import figures

    notes, png = list(report["notes"]), None
    rows = {name: row for name, row in report["comparison"].items() if row["error"] is None}
    try:
        png = figures.optimizations(rows) if rows else None
    except MissingExtra as error:
        notes.append(f"figure left out: {error}")
    write_json(folder / "optimization.json", report)
    write_bytes(folder / "optimization.txt", _text(report, notes).encode())
    if png is not None:
        write_bytes(folder / "optimization.png", png)


def _text(report: Mapping[str, Any], notes: list[str]) -> str:
    original = report["original"]
    lines = [f"original: median {original['median']:.3f} ms, p95 {_or_small(original['p95'])}", ""]
    for name, row in report["comparison"].items():
        if row["error"] is not None:
            lines.append(f"{name}: FAILED: {row['error']}")
            continue
        between = f"{row['speedup_lower']:.2f} to {row['speedup_upper']:.2f}"
        lines += [
            f"{name}: {row['speedup']:.2f} times as fast (95 % interval {between}), median {row['median']:.3f} ms, "
            f"p95 {_or_small(row['p95'])}",
            f"  size {row['size_ratio']:.3f} of the original's",
            f"  outputs differ from the original's by {row['max_abs_difference']:.3g} at most",
        ]
    return "\n".join([*lines, "", *notes]) + "\n"


def _or_small(value: float) -> str:
    return TOO_SMALL if np.isnan(value) else f"{value:.3f} ms"
