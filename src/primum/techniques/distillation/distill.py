"""Distillation as a technique: the model at hand learns from the original."""

from __future__ import annotations

from typing import TYPE_CHECKING

from primum.errors import InputError
from primum.models.signature import Signature
from primum.techniques.distillation.config import Distillation
from primum.techniques.distillation.losses import not_decoupled
from primum.techniques.distillation.objective import DistillationObjective
from primum.techniques.distillation.odds import match_odds
from primum.techniques.registry import Context, Stage, technique
from primum.techniques.training import check_labels, train, usual_augmentation

if TYPE_CHECKING:
    import torch


def _distill(model: torch.nn.Module, config: Distill, context: Context) -> torch.nn.Module:
    data, signature = context.need_train("distill"), context.need_signature("distill")
    if context.teacher is None:
        raise InputError("distill needs the original as teacher")
    for note in check_labels(data.labels, signature):
        context.note(note)
    objective = DistillationObjective(context.teacher, signature, config, data.labels)
    augment = usual_augmentation(signature.input_shape) if config.augment else None
    train(model, objective, data, config, context, augment, name="distill")
    match_odds(model, context)
    if objective.layers:
        context.note(f"hints from the layers {', '.join(theirs for _, theirs in objective.layers)}")
    return model


def _unfit(config: Distill, signature: Signature) -> str | None:
    return not_decoupled(signature) if config.method == "dkd" else None


@technique("distill", _distill, Stage.DISTIL, trains=True, unfit=_unfit)
class Distill(Distillation):
    """Teach the model at hand, a student or a pruned copy, to answer as the original does."""
