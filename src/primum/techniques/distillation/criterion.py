"""The distillation losses as torch modules, for trainers that want a criterion. Importing this loads torch."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from primum.errors import InputError
from primum.techniques.distillation.losses import bernoulli_kd_loss, decoupled_kd_loss, kd_loss, value_kd_loss

Kind = Literal["kd", "dkd", "bernoulli", "values"]


class DistillationLoss(nn.Module):  # type: ignore[misc]
    """alpha x soft loss (teacher) + (1 - alpha) x hard loss (labels); without labels, the soft loss alone.

    kind kd: softmax over axis 1, cross-entropy; dkd: the same, decoupled; bernoulli: one logit or several findings,
    labels of the same shape; values: squared errors. A label of -1 is unknown: the teacher alone teaches there, and
    with dkd, which needs the label, nobody does.
    """

    def __init__(self, temperature: float = 4.0, alpha: float = 0.5, kind: Kind = "kd", beta: float = 8.0) -> None:
        super().__init__()
        if temperature <= 0 or not 0 <= alpha <= 1:
            raise InputError(f"temperature {temperature} must be above 0 and alpha {alpha} from 0 to 1")
        if kind not in ("kd", "dkd", "bernoulli", "values"):
            raise InputError(f"no distillation loss {kind!r}; there are kd, dkd, bernoulli, values")
        self.temperature, self.alpha, self.kind, self.beta = temperature, alpha, kind, beta

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None = None) -> Tensor:
        """The loss of student logits and teacher logits of one shape."""
        if student.shape != teacher.shape:
            raise InputError(f"the student gives {tuple(student.shape)}, the teacher {tuple(teacher.shape)}")
        teacher = teacher.detach()
        if labels is None:
            if self.kind == "dkd":
                raise InputError("kind dkd needs labels: it tells the labelled class from the others")
            return self.soft(student, teacher, None)
        hard = self.hard(student.float(), labels)
        return self.alpha * self.soft(student, teacher, labels) + (1 - self.alpha) * hard

    def soft(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        """What the teacher teaches."""
        if self.kind == "dkd" and labels is not None:
            known = labels >= 0
            student, teacher, labels = student[known], teacher[known], labels[known]
            if not len(labels):
                return student.float().sum()
            return decoupled_kd_loss(student, teacher, labels, self.temperature, other_weight=self.beta)
        if self.kind == "values":
            return value_kd_loss(student, teacher)
        return (bernoulli_kd_loss if self.kind == "bernoulli" else kd_loss)(student, teacher, self.temperature)

    def hard(self, student: Tensor, labels: Tensor) -> Tensor:
        """What the labels teach."""
        if self.kind == "values":
            return functional.mse_loss(student, labels.float().reshape(student.shape))
        if self.kind != "bernoulli":
            each = functional.cross_entropy(student, labels.long(), ignore_index=-1, reduction="sum")
            return each / (labels >= 0).sum().clamp(min=1)
        labels = labels.reshape(student.shape)
        known = (labels >= 0).float()
        each = functional.binary_cross_entropy_with_logits(student, (labels == 1).float(), reduction="none")
        return (each * known).sum() / known.sum().clamp(min=1)
