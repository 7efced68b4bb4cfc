"""What a model decides; apart, so that every floor can name it without loading anything else."""

from __future__ import annotations

from enum import StrEnum


class Task(StrEnum):
    """What a model decides.

    BINARY: one positive class against the rest. MULTICLASS: one of K classes. ORDINAL: one of K ordered classes.
    MULTILABEL: each of L findings, present or not. REGRESSION: one or several numbers in clinical units.
    SEGMENTATION: the class of every pixel.
    """

    BINARY = "binary"
    MULTICLASS = "multiclass"
    ORDINAL = "ordinal"
    MULTILABEL = "multilabel"
    REGRESSION = "regression"
    SEGMENTATION = "segmentation"

    @property
    def guardable(self) -> bool:
        """Whether a case has a decision that a guard could leave to the original."""
        return self not in (Task.REGRESSION, Task.SEGMENTATION)
