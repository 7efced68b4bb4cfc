"""Plan a validation: what labelled data could show, before any model is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from primum.config import ClinicalPolicy
from primum.data.readers import DataOptions, read_labelled
from primum.errors import InputError
from primum.task import Task
from primum.validation.cases import Cases
from primum.validation.data_plan import DataPlan, plan_data
from primum.validation.waivers import demand_waivers

_ROWS = (
    "no patient is named: every row counts as one here; where inputs are read, rows that repeat the input of another "
    "count as one with it"
)


def plan_validation(
    policy: ClinicalPolicy,
    data: Path | None = None,
    options: DataOptions | None = None,
    positive_class: str | None = None,
    loss: float = 0.005,
    gain: float = 0.005,
    prevalences: Sequence[float] = (),
    guard: tuple[float, float | None] | None = None,
) -> DataPlan:
    """Read the labels of `data` and plan at the policy's margins.

    A table needs no features, no file is decoded, and no model loaded.

    InputError as `plan_data`, on data that cannot be read, on waivers of what they do not have, and without data on a
    task of values or masks, of which no table of rates is true.
    """
    task = options.task if options is not None else None
    if data is None and task is not None and not task.guardable:
        raise InputError(
            f"planning without data is for classification; data tell what the margin of a {task.value} task takes: "
            "give --data"
        )
    cases = _labelled(data, options, positive_class) if data is not None else None
    if cases is not None:
        demand_waivers(policy, cases.groups, cases.task, cases.classes, str(data))
    found = plan_data(policy, cases, loss, gain, prevalences, guard)
    return replace(found, notes=(*found.notes, _ROWS)) if cases is not None and cases.independent else found


def _labelled(data: Path, options: DataOptions | None, positive_class: str | None) -> Cases:
    found = read_labelled(data, options)
    if positive_class is not None and (found.task is not Task.BINARY or positive_class not in found.classes):
        raise InputError(f"--positive-class {positive_class!r} is not one of two labels: {', '.join(found.classes)}")
    labels = found.labels
    if found.task is Task.BINARY and positive_class == found.classes[0]:
        labels = 1 - labels
    return Cases(
        labels=labels,
        patients=found.patients if found.patients is not None else np.full(len(found), "", dtype=np.str_),
        groups=dict(found.groups),
        case_ids=found.case_ids,
        independent=found.patients is None,
        task=found.task,
        classes=found.classes,
    )
