"""Whether the original's outputs and the labels speak of the same classes: a study judged otherwise rewards harm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from primum.errors import TrialError
from primum.models.signature import Signature
from primum.study.judging import Judging
from primum.task import Task
from primum.validation.cases import Cases
from primum.validation.fit import Fit, fit_of
from primum.validation.mask_fit import fit_masks


def check_labels(judging: Judging, signature: Signature, raw: NDArray[np.float32]) -> tuple[str, ...]:
    """What must be said of how the original's raw outputs on the selection cases fit their labels.

    TrialError where they do not: it ranks backwards, guesses, or fits far better in another order.
    """
    rows = judging.split.selection
    cases = judging.cases(rows, signature)
    if signature.task is Task.SEGMENTATION:
        fit = fit_masks_of(judging.data.masks[rows], cases, signature, raw)
    else:
        fit = fit_of(cases, signature.scores(raw), sure=False)
    if fit.misfit:
        raise TrialError(f"it {fit.misfit}. {_remedy(fit, signature)}")
    return fit.notes


def fit_masks_of(masks: NDArray[np.uint8], cases: Cases, signature: Signature, raw: NDArray[np.float32]) -> Fit:
    """How raw outputs (N, K * pixels) fit the masks (N, *spatial) of `cases`; answers that are not finite are passed
    over."""
    known = np.flatnonzero(np.isfinite(raw).all(axis=1))
    return fit_masks(signature.class_map(raw[known]), masks[known], signature.classes, cases.units[known])


def _remedy(fit: Fit, signature: Signature) -> str:
    if signature.task is Task.BINARY:
        other = signature.classes[1 - signature.positive]
        return (
            f"For a single output name its class with --positive-class {other}; two outputs stand for the labels in "
            "sorted order"
        )
    if signature.task is Task.SEGMENTATION:
        return "Mend the numbers of the masks: each is the place of its channel, from 0 for the first (the background)"
    if fit.order:
        return f"Name the outputs in their order: --classes {','.join(fit.order)}"
    if signature.task is Task.MULTILABEL:
        return (
            "Look whether 1 and 0 are exchanged and mend the labels, or name the outputs in their order with --classes"
        )
    return "Name the classes in the order of its outputs with --classes"
