"""Whether the original's outputs and the labels speak of the same classes: a study judged otherwise rewards harm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from primum.errors import TrialError
from primum.models.signature import Signature
from primum.study.judging import Judging
from primum.task import Task
from primum.validation.metrics import auroc

BACKWARDS = 0.35
"""An AUROC of the original below this is taken for swapped labels."""


def check_labels(judging: Judging, signature: Signature, raw: NDArray[np.float32]) -> None:
    """TrialError where the original, of raw outputs on the selection cases, ranks them backwards or guesses."""
    if signature.task in (Task.MULTICLASS, Task.ORDINAL):
        _check_order(judging, signature, raw)
    if signature.task is not Task.BINARY:
        return
    labels = (judging.data.cases.labels[judging.split.selection] == signature.positive).astype(np.int64)
    if len(set(labels.tolist())) < 2:
        return
    area = auroc(labels, signature.positive_probability(raw))
    if area < BACKWARDS:
        other = signature.classes[1 - signature.positive]
        raise TrialError(
            f"it ranks {signature.classes[signature.positive]!r} below {other!r} (AUROC {area:.3f}): labels and "
            f"outputs do not match. For a single output name its class with --positive-class {other}; two outputs "
            "stand for the labels in sorted order"
        )


def _check_order(judging: Judging, signature: Signature, raw: NDArray[np.float32]) -> None:
    """Right on less than half of what guessing would be: the outputs are in another order than the classes."""
    cases = judging.cases(judging.split.selection, signature)
    shares = np.bincount(cases.labels, minlength=len(signature.classes)) / max(len(cases), 1)
    right = float(np.mean(signature.scores(raw).argmax(axis=1) == cases.labels))
    if right < 0.5 / np.count_nonzero(shares):
        raise TrialError(
            f"it is right on {right:.1%} of {len(cases)} cases, far less than guessing: name the classes in the "
            "order of its outputs with --classes"
        )
