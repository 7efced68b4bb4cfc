"""Timing and comparing inference approaches. Public names load lazily: importing this loads neither torch nor
matplotlib."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from primum.benchmark.base import BaseInferenceWrapper
    from primum.benchmark.baseline import run_baseline_benchmark
    from primum.benchmark.optimization import OptimizationBenchmark, benchmark_optimizations
    from primum.benchmark.results import BenchmarkResult, ResultsCollector
    from primum.benchmark.statistics import bootstrap_ratio, calculate_stage_statistics
    from primum.benchmark.suite import BenchmarkSuite
    from primum.benchmark.timer import StageTimer
    from primum.benchmark.wrappers import (
        INT8InferenceWrapper,
        ONNXFP16InferenceWrapper,
        ONNXInferenceWrapper,
        PyTorchInferenceWrapper,
    )
    from primum.data.dataset_loader import DatasetLoader
    from primum.validation.metrics import calculate_classification_metrics

_PUBLIC = {
    "BaseInferenceWrapper": "primum.benchmark.base",
    "BenchmarkResult": "primum.benchmark.results",
    "BenchmarkSuite": "primum.benchmark.suite",
    "DatasetLoader": "primum.data.dataset_loader",
    "INT8InferenceWrapper": "primum.benchmark.wrappers",
    "ONNXFP16InferenceWrapper": "primum.benchmark.wrappers",
    "ONNXInferenceWrapper": "primum.benchmark.wrappers",
    "OptimizationBenchmark": "primum.benchmark.optimization",
    "PyTorchInferenceWrapper": "primum.benchmark.wrappers",
    "ResultsCollector": "primum.benchmark.results",
    "StageTimer": "primum.benchmark.timer",
    "benchmark_optimizations": "primum.benchmark.optimization",
    "bootstrap_ratio": "primum.benchmark.statistics",
    "calculate_classification_metrics": "primum.validation.metrics",
    "calculate_stage_statistics": "primum.benchmark.statistics",
    "run_baseline_benchmark": "primum.benchmark.baseline",
}

__all__ = [
    "BaseInferenceWrapper",
    "BenchmarkResult",
    "BenchmarkSuite",
    "DatasetLoader",
    "INT8InferenceWrapper",
    "ONNXFP16InferenceWrapper",
    "ONNXInferenceWrapper",
    "OptimizationBenchmark",
    "PyTorchInferenceWrapper",
    "ResultsCollector",
    "StageTimer",
    "benchmark_optimizations",
    "bootstrap_ratio",
    "calculate_classification_metrics",
    "calculate_stage_statistics",
    "run_baseline_benchmark",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'primum.benchmark' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
