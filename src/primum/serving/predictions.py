"""Answers in the words of the model: probabilities by the name of their class, the decided class, for one case each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from primum.serving.ladder.rung import Rung
from primum.task import Task


def predictions(rung: Rung, outputs: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """One mapping a case of what `ServedModel.infer` gave (N rows).

    `probabilities` by class and `decision`, the name of a class (MULTILABEL: true or false by label); `values` by name
    of a REGRESSION; `mask`, the index in `classes` of every pixel, of a SEGMENTATION, whose probabilities `infer`
    gives. `deferred`: whether the original of a guarded artifact answered.
    """
    signature = rung.manifest.signature
    task, classes = signature.task, signature.classes
    count = len(next(iter(outputs.values())))
    told: list[dict[str, Any]] = [{} for _ in range(count)]
    for k, one in enumerate(told):
        if task is Task.REGRESSION:
            one["values"] = _named(classes, outputs["values"][k])
            continue
        decided = outputs["decision"][k]
        if task is Task.SEGMENTATION:
            one["classes"], one["mask"] = classes, decided.tolist()
            continue
        one["probabilities"] = _named(classes, outputs["probabilities"][k])
        if task is Task.MULTILABEL:
            one["decision"] = dict(zip(classes, map(bool, decided.tolist())))
        elif task is Task.BINARY:
            one["decision"] = classes[signature.positive if decided else 1 - signature.positive]
        else:
            one["decision"] = classes[int(decided)]
    for k, one in enumerate(told):
        one["deferred"] = bool(outputs["deferred"][k]) if "deferred" in outputs else False
    return told


def _named(classes: tuple[str, ...], row: NDArray[Any]) -> dict[str, float]:
    return dict(zip(classes, row.tolist()))
