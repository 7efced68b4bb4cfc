"""Gradual pruning: sparsity rises fast at first and slowly at the end, with training in between where there is any."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from primum.errors import InputError
from primum.techniques.distillation.config import Distillation
from primum.techniques.distillation.objective import taught_by
from primum.techniques.pruning.unstructured import Sparse, masks, noted, prunable, sparse, unreached, zero
from primum.techniques.registry import Context, Stage, TechniqueConfig, technique
from primum.techniques.training import check_labels, train, usual_augmentation

if TYPE_CHECKING:
    import torch

FineTune = Callable[["torch.nn.Module", Context], object]
"""Trains a model in place for a short while; what it returns is not used. Zeroed weights are held at zero meanwhile."""


def schedule(final: float, steps: int, initial: float = 0.0) -> tuple[float, ...]:
    """Sparsity after each of `steps` steps: s_f + (s_i - s_f)(1 - t/n)^3, t = 1..n (Zhu and Gupta 2017,
    arXiv:1710.01878).
    """
    return tuple(final + (initial - final) * (1 - t / steps) ** 3 for t in range(1, steps + 1))


def _prune(model: torch.nn.Module, config: PruneGradually, context: Context) -> torch.nn.Module:
    return noted(prune_gradually(model, config, context), context)


@technique("prune_gradually", _prune, Stage.PRUNE)
class PruneGradually(TechniqueConfig):
    """Zero the smallest weights in steps of falling size, each ranked on what the step before has left."""

    amount: float = Field(0.5, ge=0, lt=1)
    """Share of zeros after the last step."""
    n_iterations: int = Field(3, ge=1)
    initial: float = Field(0.0, ge=0, lt=1)
    """Share of zeros before the first step."""
    scope: Literal["global", "layer"] = "global"
    parameters: tuple[str, ...] = ("weight",)

    @model_validator(mode="after")
    def _rises(self) -> PruneGradually:
        if self.initial > self.amount:
            raise ValueError("initial must not exceed amount")
        return self


def _prune_trained(model: torch.nn.Module, config: PruneWhileTraining, context: Context) -> torch.nn.Module:
    data, signature = context.need_train("prune_while_training"), context.need_signature("prune_while_training")
    steps = config.n_iterations
    training = Distillation(
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        alpha=config.alpha,
        max_minutes=config.max_minutes and config.max_minutes / steps,
    )
    for note in check_labels(data.labels, signature):
        context.note(note)
    augment = usual_augmentation(signature.input_shape)
    number = itertools.count(1)

    def teach(held: torch.nn.Module, inner: Context) -> None:
        objective = taught_by(inner.teacher, signature, training, data.labels, inner.note)
        train(held, objective, data, training, inner, augment, name=f"step {next(number)} of {steps}")

    return noted(prune_gradually(model, config, context, teach, recover=True), context)


@technique("prune_while_training", _prune_trained, Stage.PRUNE, trains=True)
class PruneWhileTraining(PruneGradually):
    """`prune_gradually` with training after every step, in which the zeros stay zero: by the original's answers and the
    labels, or labels alone where the original cannot be asked.
    """

    epochs: int = Field(1, ge=1)
    """After each step."""
    learning_rate: float = Field(3e-4, gt=0)
    alpha: float = Field(0.9, ge=0, le=1)
    """Weight of the original's answers, 1 - alpha that of the labels; 0: labels alone."""
    max_minutes: float | None = Field(None, gt=0)
    """Of all trainings together."""


def prune_gradually(
    model: torch.nn.Module,
    config: PruneGradually,
    context: Context | None = None,
    fine_tune: FineTune | None = None,
    recover: bool = False,
) -> Sparse:
    """A copy of `model`, pruned in steps; `fine_tune` is called between them, with the context's training data, and
    after the last where `recover` says so.

    Without it every step ranks the same weights, so that the result is that of one step: a note says so. Raises
    InputError where `fine_tune` is given without training data, or nothing can be pruned.
    """
    context = context or Context()
    if fine_tune is not None:
        context.need_train("fine-tuning between steps")
    pruned = copy.deepcopy(model)
    found = prunable(pruned, config.parameters)
    steps = schedule(config.amount, config.n_iterations, config.initial)
    for number, amount in enumerate(steps, 1):
        keep = masks(found, amount, config.scope)
        for tensor, mask in zip(found, keep, strict=True):
            zero(tensor, mask)
        if fine_tune is not None and (recover or number < len(steps)):
            _train_held(pruned, found, keep, fine_tune, context)
    path = ", ".join(f"{100 * amount:.4g}%" for amount in steps)
    after = "fine-tuned after each" if recover else "fine-tuned between"
    how = after if fine_tune else "no fine-tuning between: the result is that of the last step alone"
    return sparse(pruned, found, (f"zeros after each step: {path}; {how}", *unreached(pruned, config.parameters)))


def _train_held(
    model: torch.nn.Module, tensors: Sequence[Any], keep: Sequence[torch.Tensor], fine_tune: FineTune, context: Context
) -> None:
    """Train with zeroed weights at zero: no gradient reaches them, and what an optimizer adds is taken off after."""
    hooks = [
        tensor.register_hook(lambda gradient, mask=mask: gradient * mask.to(gradient.device))
        for tensor, mask in zip(tensors, keep)
        if tensor.requires_grad
    ]
    known = {id(p) for p in model.parameters()}
    try:
        fine_tune(model, context)
    finally:
        for hook in hooks:
            hook.remove()
    if any(id(tensor) not in known for tensor in tensors) or {id(p) for p in model.parameters()} != known:
        raise InputError("fine_tune must train the model that it is given in place, and keep its parameters")
    for tensor, mask in zip(tensors, keep, strict=True):
        zero(tensor, mask.to(tensor.device))
