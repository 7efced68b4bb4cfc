"""primum: makes clinical AI models fast and small, and proves on your data that no patient pays for it.

The public names load lazily: importing primum loads neither torch nor a runtime.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from primum.version import VERSION as __version__

# Since 1.29 ONNX Runtime keeps a device id and reports events on Linux too, unless this is set before it loads.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_PUBLIC = {
    "load": "primum.runtimes.load",
    "UnprovenWarning": "primum.errors",
    "sign": "primum.artifact.signing",
    "verify_signature": "primum.artifact.signing",
    "optimize": "primum.workflows.api",
    "OptimizationConfig": "primum.config",
    "OptimizationLevel": "primum.config",
    "QuantizationConfig": "primum.config",
    "QuantizationType": "primum.config",
    "ValidationConfig": "primum.config",
    "ReductionConfig": "primum.config",
    "ClinicalPolicy": "primum.config",
    "Margins": "primum.config",
    "Preprocessing": "primum.data.preprocessing",
    "DatasetLoader": "primum.data.dataset_loader",
    "calculate_classification_metrics": "primum.validation.metrics",
    "judge": "primum.validation.gate",
    "assess": "primum.validation.assessment",
    "freeze_threshold": "primum.validation.operating",
    "plan_data": "primum.validation.data_plan",
    "QuantizationValidator": "primum.workflows.validator",
    "compare_reports": "primum.workflows.regression",
    "ValidationMetric": "primum.validation.spec_scores",
    "OperatingPoint": "primum.config",
    "Action": "primum.config",
    "Cases": "primum.validation.gate",
    "Recipe": "primum.study.recipe",
    "Target": "primum.runtimes.base",
    "QuantizationManager": "primum.techniques.quantization",
    "DynamicQuantizer": "primum.techniques.quantization",
    "StaticQuantizer": "primum.techniques.quantization",
    "quantize_model": "primum.techniques.quantization",
    "quantize_dynamic": "primum.techniques.quantization",
    "quantize_static": "primum.techniques.quantization",
    "quantize_aware_training": "primum.techniques.quantization",
    "MixedPrecisionConverter": "primum.techniques.precision",
    "MixedPrecisionWrapper": "primum.techniques.precision",
    "convert_to_mixed_precision": "primum.techniques.precision",
    "PruningConfig": "primum.techniques.pruning",
    "ModelPruner": "primum.techniques.pruning",
    "PruningMethod": "primum.techniques.pruning",
    "prune_model": "primum.techniques.pruning",
    "structured_pruning": "primum.techniques.pruning",
    "ModelReducer": "primum.techniques.reducer",
    "DistillationTrainer": "primum.techniques.distillation",
    "apply_distillation": "primum.techniques.distillation",
    "technique": "primum.techniques.registry",
    "TechniqueConfig": "primum.techniques.registry",
    "StageTimer": "primum.benchmark",
    "BenchmarkSuite": "primum.benchmark",
    "BenchmarkResult": "primum.benchmark",
    "ResultsCollector": "primum.benchmark",
    "BaseInferenceWrapper": "primum.benchmark",
    "PyTorchInferenceWrapper": "primum.benchmark",
    "ONNXInferenceWrapper": "primum.benchmark",
    "ONNXFP16InferenceWrapper": "primum.benchmark",
    "INT8InferenceWrapper": "primum.benchmark",
    "OptimizationBenchmark": "primum.benchmark",
    "benchmark_optimizations": "primum.benchmark",
    "calculate_stage_statistics": "primum.benchmark",
    "run_baseline_benchmark": "primum.benchmark",
    "BatchConfig": "primum.config",
    "BatchStrategy": "primum.config",
    "BatchRequest": "primum.batching",
    "BatchProcessor": "primum.batching",
    "AsyncBatchProcessor": "primum.batching",
    "DynamicBatcher": "primum.batching",
    "Priority": "primum.batching",
    "create_health_model_batcher": "primum.batching",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'primum' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
