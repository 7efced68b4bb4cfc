"""The judged cases and their scores, as the gate takes them, whatever the task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from primum.config import ClinicalPolicy
from primum.data.evaluation import EvaluationSet, Materialized
from primum.data.split import Split
from primum.models.signature import Signature
from primum.task import Task
from primum.validation.cases import Cases
from primum.validation.segmentation import dice_scores


@dataclass(frozen=True)
class Judging:
    """The cases, their parts, and the policy."""

    data: Materialized
    split: Split
    policy: ClinicalPolicy
    case_ids: NDArray[np.str_]
    """What evidence calls the cases (pseudonyms)."""
    independent: bool = False
    """The user declared that no patient has two cases."""

    def cases(self, rows: NDArray[np.int64], signature: Signature) -> Cases:
        """The judged cases at `rows`."""
        contents = np.array(self.data.digests, dtype=np.str_)[rows]
        return judged_cases(self.data.cases.take(rows), contents, self.case_ids[rows], signature, self.independent)

    def scores(self, raw: NDArray[np.float32], rows: NDArray[np.int64], signature: Signature) -> NDArray[np.float64]:
        """What is judged, from the raw outputs at `rows`."""
        return judged_scores(raw, self.data, rows, signature)


def judged_cases(
    data: EvaluationSet,
    contents: NDArray[np.str_],
    case_ids: NDArray[np.str_],
    signature: Signature,
    independent: bool = False,
) -> Cases:
    """`data` as the gate takes it; of a binary task label 1 is the positive class.

    `contents` (N,) are digests of the inputs: the unit where the data name no patients, `independent` or not.
    """
    binary = signature.task is Task.BINARY
    # Of masks the background is no structure: it has no Dice.
    classes = signature.classes[1:] if signature.task is Task.SEGMENTATION else signature.classes
    return Cases(
        labels=(data.labels == signature.positive).astype(np.int64) if binary else data.labels,
        patients=data.patients if data.patients is not None else np.full(len(data), "", dtype=np.str_),
        groups=dict(data.groups),
        case_ids=case_ids,
        independent=independent and data.patients is None,
        contents=contents,
        task=signature.task,
        classes=classes,
    )


def judged_scores(
    raw: NDArray[np.float32], data: Materialized, rows: NDArray[np.int64], signature: Signature
) -> NDArray[np.float64]:
    """Probabilities or values from raw outputs at `rows`; of masks, Dice (N, structures) against the true ones."""
    if signature.task is not Task.SEGMENTATION:
        return signature.scores(raw)
    return dice_scores(signature.probabilities(raw), data.masks[rows], signature.classes)
