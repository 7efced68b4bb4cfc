"""The specification's DistillationTrainer: distillation over a loader of the user's own."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from primum.errors import InputError, TrialError
from primum.techniques.distillation.outputs import call, device_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LoaderTraining:
    """Mean training loss of each epoch."""

    losses: tuple[float, ...]
    steps: int
    seconds: float


class DistillationTrainer:
    """Teaches `student_model` to answer as `teacher_model`; both on one device, the teacher never changed.

    Logits (N, K) with K >= 2 and labels (N,), or (N, 1) and (N, L) with labels of 0, 1 and -1 unknown. Models may
    return logits, or an object with `.logits`; a batch may be a tensor, a tuple, or a mapping of keyword arguments.
    """

    def __init__(
        self,
        teacher_model: torch.nn.Module,
        student_model: torch.nn.Module,
        temperature: float = 3.0,
        alpha: float = 0.5,
    ) -> None:
        from primum.techniques.distillation.criterion import DistillationLoss

        self.teacher, self.student = teacher_model.eval(), student_model
        self.temperature, self.alpha = temperature, alpha
        self._classes = DistillationLoss(temperature, alpha)
        self._findings = DistillationLoss(temperature, alpha, "bernoulli")

    def distillation_loss(
        self, student_logits: torch.Tensor, teacher_logits: torch.Tensor, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """alpha x T² KL(teacher ‖ student) + (1 - alpha) x cross-entropy; without labels the former alone.

        One logit, or labels of the logits' own shape (several findings): of sigmoids, each by itself.
        """
        single = student_logits.shape[1] == 1
        alone = single or (labels is not None and labels.ndim == 2 and labels.shape == student_logits.shape)
        return (self._findings if alone else self._classes)(student_logits, teacher_logits, labels)

    def train_step(self, batch: Any, labels: torch.Tensor | None = None) -> torch.Tensor:
        """The loss of one batch, to call `backward` on. The student is in training mode, the teacher in evaluation."""
        import torch

        self.teacher.eval()
        self.student.train()
        place = device_of(self.student)
        with torch.no_grad():
            known = call(self.teacher, batch, place)
        return self.distillation_loss(
            call(self.student, batch, place), known, None if labels is None else torch.as_tensor(labels).to(place)
        )

    def train(
        self,
        loader: Iterable[Any],
        epochs: int = 1,
        learning_rate: float = 1e-4,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> LoaderTraining:
        """Train the student over `loader` of (batch, labels), or of mappings with "labels"; it ends in eval mode.

        AdamW unless `optimizer` is given; gradients are clipped at norm 1. Raises TrialError where the loss is not
        finite, InputError where the loader gives nothing (an iterator is used up after one epoch: give a list).
        """
        import torch

        free = [p for p in self.student.parameters() if p.requires_grad]
        optimizer = optimizer or torch.optim.AdamW(free, learning_rate)
        began, losses, steps = time.monotonic(), list[float](), 0
        for epoch in range(1, epochs + 1):
            total, batches = 0.0, 0
            for item in loader:
                total += self._update(*labelled(item), optimizer, free)
                batches += 1
            if not batches:
                raise InputError(f"the loader gave no batch in epoch {epoch}: give a DataLoader or a list of batches")
            losses.append(total / batches)
            steps += batches
        self.student.eval()
        return LoaderTraining(tuple(losses), steps, time.monotonic() - began)

    def _update(
        self, batch: Any, labels: Any, optimizer: torch.optim.Optimizer, free: list[torch.nn.Parameter]
    ) -> float:
        import torch

        optimizer.zero_grad(set_to_none=True)
        loss = self.train_step(batch, labels)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrialError(f"distillation: the loss is {value}: lower the learning rate or look for NaN in the data")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(free, 1.0)
        optimizer.step()
        return value


def labelled(item: Any) -> tuple[Any, Any]:
    """(batch, labels or None) of what a loader gives: a pair, a mapping with "labels" or "label", or inputs alone."""
    from collections.abc import Mapping

    if isinstance(item, Mapping):
        names = [name for name in ("labels", "label") if name in item]
        rest = {k: v for k, v in item.items() if k not in names}
        return rest, item[names[0]] if names else None
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return item[0], item[1]
    if isinstance(item, (tuple, list)) and len(item) == 1:
        return item[0], None
    return item, None
