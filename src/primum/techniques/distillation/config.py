"""How to distil."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from primum.techniques.training.config import TrainingConfig


class Distillation(TrainingConfig):
    """Settings of one distillation, those of its training included."""

    method: Literal["kd", "dkd", "hints"] = "kd"
    """kd: the teacher's outputs; dkd: the same, decoupled (one of three classes or more); hints: kd + features."""
    temperature: float = Field(4.0, gt=0)
    alpha: float = Field(0.9, ge=0, le=1)
    """Weight of the teacher, 1 - alpha that of the labels. High: decisions are compared at the teacher's threshold,
    and labels alone pull a student to another calibration."""
    beta: float = Field(8.0, ge=0)
    """dkd: weight of the classes beside the label."""
    hints: tuple[str, ...] = ()
    """Layers, "name" or "name in the student=name in the teacher"; none: chosen by name and size."""
    hint_weight: float = Field(1.0, ge=0)
    mixup: float = Field(0.2, ge=0)
    """As in TrainingConfig: the teacher answers for the blend, so no label is wrong (Beyer et al. 2022)."""
    augment: bool = True
    """Images and volumes: small shifts and scales, the same for teacher and student. Not for tables drawn as images."""
