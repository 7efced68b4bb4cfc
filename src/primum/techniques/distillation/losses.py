"""Distillation losses: plain functions of logits, for any training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from primum.errors import InputError
from primum.models.signature import Signature
from primum.task import Task
from primum.techniques.training.losses import logits, spread, stands_alone

if TYPE_CHECKING:
    import torch


def kd_loss(student: torch.Tensor, teacher: torch.Tensor, temperature: float = 4.0) -> torch.Tensor:
    """T² KL(teacher ‖ student) of softmax(logits / T) over axis 1 (Hinton et al. 2015, arXiv:1503.02531).

    Logits (N, K) or, for masks, (N, K, *spatial): the mean over cases and pixels. T² keeps the gradient's size
    when T changes.
    """
    from torch.nn import functional

    known = functional.log_softmax(teacher.float() / temperature, dim=1)
    guess = functional.log_softmax(student.float() / temperature, dim=1)
    return temperature**2 * (known.exp() * (known - guess)).sum(dim=1).mean()


def bernoulli_kd_loss(student: torch.Tensor, teacher: torch.Tensor, temperature: float = 4.0) -> torch.Tensor:
    """T² KL(teacher ‖ student) of sigmoid(logits / T), each output a distribution of its own; the mean over all.

    For a single logit it is `kd_loss` of the pair (0, logit).
    """
    from torch.nn import functional

    z, known = student.float() / temperature, teacher.float() / temperature
    p = known.sigmoid()
    yes = p * (functional.logsigmoid(known) - functional.logsigmoid(z))
    no = (1 - p) * (functional.logsigmoid(-known) - functional.logsigmoid(-z))
    return temperature**2 * (yes + no).mean()


def decoupled_kd_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor,
    temperature: float = 4.0,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
) -> torch.Tensor:
    """T² (α TCKD + β NCKD) of logits (N, K >= 3) and labels (N,) (Zhao et al. 2022, arXiv:2203.08679, equation 7).

    TCKD: KL of (p of the label's class, p of the rest); NCKD: KL among the other classes, renormalised. `kd_loss`
    weighs NCKD by the teacher's p of the rest, which is smallest where the teacher is surest.
    """
    target = decoupled_terms(student, teacher, labels, temperature)
    return temperature**2 * (target_weight * target[0] + other_weight * target[1]).mean()


def decoupled_terms(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """TCKD and NCKD of each case, both (N,), without T²."""
    import torch
    from torch.nn import functional

    z, known = student.float() / temperature, teacher.float() / temperature
    chosen = functional.one_hot(labels.long(), z.shape[1]).bool()

    def split(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log of (p label, p rest), and of p among the others."""
        rest = x[~chosen].reshape(len(x), -1)
        pair = torch.stack([x[chosen], rest.logsumexp(dim=1)], dim=1)
        return functional.log_softmax(pair, dim=1), functional.log_softmax(rest, dim=1)

    pairs = list(zip(split(known), split(z)))
    first, second = ((a.exp() * (a - b)).sum(dim=1) for a, b in pairs)
    return first, second


def value_kd_loss(student: torch.Tensor, teacher: torch.Tensor, scale: torch.Tensor | float = 1.0) -> torch.Tensor:
    """Mean squared difference of values (N, D), in units of `scale`."""
    return ((student.float() - teacher.float()) / scale).square().mean()


def soft_loss(
    signature: Signature, temperature: float, labels: NDArray[Any] | None = None
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The loss of the task from raw outputs (student, teacher); probabilities are taken back to logits.

    One logit, MULTILABEL and one-channel masks: `bernoulli_kd_loss`; REGRESSION: `value_kd_loss` in units of the
    standard deviation of `labels`; else `kd_loss`, of every pixel where there are masks.
    """
    if signature.task is Task.REGRESSION:
        scale = spread(labels, signature.outputs)

        def values(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
            import torch

            unit = torch.from_numpy(scale).to(student.device)
            return value_kd_loss(logits(student, signature), logits(teacher, signature), unit)

        return values
    each = bernoulli_kd_loss if stands_alone(signature) else kd_loss

    def loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        return each(logits(student, signature), logits(teacher, signature), temperature)

    return loss


def check_decoupled(signature: Signature) -> None:
    """InputError where decoupled distillation has no meaning: it needs one label among three classes or more."""
    if why := not_decoupled(signature):
        raise InputError(why)


def not_decoupled(signature: Signature) -> str | None:
    """Why decoupled distillation has no meaning, or None."""
    if signature.task in (Task.MULTICLASS, Task.ORDINAL) and signature.outputs >= 3:
        return None
    return (
        f"method dkd needs one of three classes or more; for a {signature.task.value} model with "
        f"{signature.outputs} output(s) give method kd"
    )
