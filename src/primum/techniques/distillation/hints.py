"""Hints: features of the teacher that the student learns to predict. Importing this loads torch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from primum.errors import InputError

_POINTWISE = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_POOL = {3: functional.adaptive_avg_pool1d, 4: functional.adaptive_avg_pool2d, 5: functional.adaptive_avg_pool3d}


class HintLoss(nn.Module):  # type: ignore[misc]
    """½ mean (teacher − r(student))² over pairs of features (FitNets, Romero et al. 2015, arXiv:1412.6550).

    r is a linear map of channels (a 1x1 convolution), made where the numbers of channels differ and trained along;
    it is created from one example of each feature. Larger grids are averaged to the smaller of the two.
    """

    def __init__(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
        super().__init__()
        if not student or len(student) != len(teacher):
            raise InputError(f"{len(student)} features of the student, {len(teacher)} of the teacher: give pairs")
        self.regressors = nn.ModuleList(_regressor(s, t) for s, t in zip(student, teacher))

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """The mean over pairs; features in the order in which they were first given."""
        total = student[0].new_zeros(())
        for regressor, mine, known in zip(self.regressors, student, teacher, strict=True):
            guess, known = _same_grid(regressor(mine), known.detach())
            total = total + 0.5 * (guess.float() - known.float()).square().mean()
        return total / len(self.regressors)


def _tokens(student: Tensor, teacher: Tensor) -> bool:
    """(N, tokens, channels), as transformers have them, rather than (N, channels, length)."""
    return bool(student.ndim == 3 and student.shape[1] == teacher.shape[1])


def _regressor(student: Tensor, teacher: Tensor) -> nn.Module:
    if student.ndim != teacher.ndim or student.ndim not in (2, *_POINTWISE):
        raise InputError(
            f"a hint of shape {tuple(teacher.shape)} cannot be predicted from {tuple(student.shape)}: "
            "pair layers with as many axes"
        )
    axis = -1 if student.ndim == 2 or _tokens(student, teacher) else 1
    mine, known = student.shape[axis], teacher.shape[axis]
    if mine == known:
        return nn.Identity()
    return nn.Linear(mine, known) if axis == -1 else _POINTWISE[student.ndim](mine, known, 1)


def _same_grid(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    if student.shape == teacher.shape:
        return student, teacher
    size = tuple(min(a, b) for a, b in zip(student.shape[2:], teacher.shape[2:]))
    pool = _POOL[student.ndim]
    return pool(student, size), pool(teacher, size)
