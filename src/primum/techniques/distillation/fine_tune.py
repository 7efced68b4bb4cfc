"""Fine-tuning as a technique: the model at hand learns from labels alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from primum.techniques.distillation.odds import match_odds
from primum.techniques.registry import Context, Stage, technique
from primum.techniques.training import TrainingConfig, check_labels, task_loss, train, usual_augmentation

if TYPE_CHECKING:
    import torch


def _fine_tune(model: torch.nn.Module, config: FineTune, context: Context) -> torch.nn.Module:
    data, signature = context.need_train("fine_tune"), context.need_signature("fine_tune")
    for note in check_labels(data.labels, signature):
        context.note(note)
    augment = usual_augmentation(signature.input_shape) if config.augment else None
    train(model, task_loss(signature, data.labels), data, config, context, augment, name="fine_tune")
    match_odds(model, context)
    return model


@technique("fine_tune", _fine_tune, Stage.DISTIL, trains=True)
class FineTune(TrainingConfig):
    """Train on the labels; where the original can be asked, `distill` keeps its decisions better."""

    learning_rate: float = Field(3e-4, gt=0)
    augment: bool = True
    """Images and volumes: small shifts and scales. Not for tables drawn as images."""
