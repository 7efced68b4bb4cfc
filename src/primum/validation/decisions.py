"""From scores to decisions, and how far each decision is from turning over: one rule for every task that decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from primum.config import ClinicalPolicy
from primum.errors import InputError
from primum.task import Task
from primum.validation.arrays import Floats, Ints

NO_DECISION = -1
"""What a score that is not finite decides: never the label, so always wrong."""


@dataclass(frozen=True)
class Rule:
    """How scores become decisions. `thresholds`: one for BINARY, one a label for MULTILABEL, none for the others.

    Scores are P(positive) (N,) for BINARY, probabilities (N, K) for MULTICLASS and ORDINAL, (N, L) for MULTILABEL.
    """

    task: Task
    thresholds: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        if self.task not in (Task.BINARY, Task.MULTICLASS, Task.ORDINAL, Task.MULTILABEL):
            raise InputError(f"a {self.task.value} model gives values, not decisions")

    def decisions(self, scores: ArrayLike) -> Ints:
        """(N,) 0/1 for BINARY, (N,) class index for MULTICLASS and ORDINAL, (N, L) 0/1 for MULTILABEL; -1 where a
        score is not finite. A score equal to its threshold is positive; of equal largest classes the first wins.
        """
        values = self._shaped(scores)
        finite = np.isfinite(values)
        if self.task in (Task.MULTICLASS, Task.ORDINAL):
            best = np.where(finite, values, -np.inf).argmax(axis=1)
            return np.where(finite.all(axis=1), best, NO_DECISION).astype(np.int64)
        above = np.where(finite, values, 0.0) >= np.asarray(self.thresholds)
        called = np.where(finite, above, NO_DECISION).astype(np.int64)
        return called[:, 0] if self.task is Task.BINARY else called

    def margins(self, scores: ArrayLike) -> Floats:
        """How far each decision is from turning over: |score - threshold| (N,) or (N, L); for MULTICLASS and ORDINAL
        the lead of the first class over the second (N,). NaN where a score is not finite.
        """
        values = self._shaped(scores)
        if self.task in (Task.MULTICLASS, Task.ORDINAL):
            ranked = np.sort(values, axis=1)
            lead = ranked[:, -1] - ranked[:, -2]
            return np.where(np.isfinite(values).all(axis=1), lead, np.nan)
        gap = np.abs(values - np.asarray(self.thresholds))
        gap = np.where(np.isfinite(values), gap, np.nan)
        return gap[:, 0] if self.task is Task.BINARY else gap

    def _shaped(self, scores: ArrayLike) -> Floats:
        values = np.asarray(scores, dtype=np.float64)
        if self.task is Task.BINARY:
            values = values.reshape(-1, 1) if values.ndim == 1 else values
            wanted: Sequence[int] = (1,)
        elif self.task is Task.MULTILABEL:
            wanted = (len(self.thresholds),)
        else:
            wanted = range(2, 10_000)
        if values.ndim != 2 or values.shape[1] not in wanted:
            raise InputError(f"scores of shape {np.shape(scores)} do not fit a {self.task.value} decision")
        return values


def rule_for(task: Task, classes: Sequence[str], policy: ClinicalPolicy) -> Rule | None:
    """The rule that a policy makes for a task; None where the task decides nothing (regression, segmentation).

    InputError where the policy names a label to set a threshold for, or an output to set a margin or a tolerance for,
    that there is not.
    """
    outputs = set(classes) if task is Task.REGRESSION and len(classes) > 1 else set()
    if strange := sorted({*policy.error_margins, *policy.tolerances} - outputs):
        raise InputError(f"there is no output {strange[0]!r} among several to set a margin or a tolerance for")
    unknown = sorted(set(policy.thresholds) - set(classes)) if task is Task.MULTILABEL else sorted(policy.thresholds)
    if unknown:
        raise InputError(f"there is no label {unknown[0]!r} to set a threshold for")
    if task in (Task.REGRESSION, Task.SEGMENTATION):
        return None
    if task is Task.MULTILABEL:
        return Rule(task, tuple(policy.thresholds.get(name, policy.threshold) for name in classes))
    return Rule(task, (policy.threshold,) if task is Task.BINARY else ())
