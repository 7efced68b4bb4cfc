"""Distillation: a small network learns to answer as the original does. Importing it loads no torch."""

from __future__ import annotations

import importlib
from typing import Any

from primum.techniques.distillation.apply import DistillationResult, apply_distillation
from primum.techniques.distillation.config import Distillation
from primum.techniques.distillation.distill import Distill
from primum.techniques.distillation.fine_tune import FineTune
from primum.techniques.distillation.loader_trainer import DistillationTrainer
from primum.techniques.distillation.losses import (
    bernoulli_kd_loss,
    decoupled_kd_loss,
    kd_loss,
    soft_loss,
    value_kd_loss,
)
from primum.techniques.distillation.objective import DistillationObjective

# These are torch modules, or keep one.
_LAZY = {
    "DistillationLoss": "criterion",
    "HintLoss": "hints",
}

__all__ = [
    "Distill",
    "Distillation",
    "DistillationObjective",
    "DistillationResult",
    "DistillationTrainer",
    "FineTune",
    "apply_distillation",
    "bernoulli_kd_loss",
    "decoupled_kd_loss",
    "kd_loss",
    "soft_loss",
    "value_kd_loss",
    *_LAZY,
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
