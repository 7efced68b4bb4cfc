"""The judged cases and their scores, as the gate takes them, whatever the task."""

from __future__ import annotations

import hashlib
import json
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
    classes = signature.classes[1:] if signature.task is Task.SEGMENTATION else signature.label_names
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


def judgement_digest(data: Materialized, rows: NDArray[np.int64]) -> str:
    """Digest of what the cases at `rows` are judged by: labels, masks, groups and who shares a patient.

    Neither the order of cases nor what patients are called changes it: of a patient the least digest of his cases
    stands for him, so that it quotes nobody.
    """
    cases, contents = data.cases, data.digests
    masks = data.masks if data.mask_path is not None else None
    owners = None if cases.patients is None else [str(name) for name in cases.patients]
    first: dict[str, str] = {}
    if owners is not None:
        for row in rows:
            first[owners[row]] = min(first.get(owners[row], contents[row]), contents[row])
    lines = []
    for row in rows:
        told: list[object] = [contents[row], cases.labels[row].tolist()]
        told.append(hashlib.sha256(masks[row].tobytes()).hexdigest() if masks is not None else "")
        told.append({name: str(values[row]) for name, values in cases.groups.items()})
        told.append(first[owners[row]] if owners is not None else "")
        lines.append(json.dumps(told, sort_keys=True))
    head = json.dumps([cases.task.value, cases.classes, sorted(cases.groups)])
    return hashlib.sha256("\n".join([head, *sorted(lines)]).encode()).hexdigest()


def judged_scores(
    raw: NDArray[np.float32], data: Materialized, rows: NDArray[np.int64], signature: Signature
) -> NDArray[np.float64]:
    """Probabilities or values from raw outputs at `rows`; of masks, Dice (N, structures) against the true ones."""
    if signature.task is not Task.SEGMENTATION:
        return signature.scores(raw)
    return dice_scores(signature.probabilities(raw), data.masks[rows], signature.classes)
