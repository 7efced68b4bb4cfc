"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LossFunction = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""(outputs, labels) to a scalar."""
Targets = tuple[tuple["torch.Tensor", float], ...]
"""Labels of a batch with their weights, which add up to 1: one pair, or two where mixup blended the inputs."""


class Objective:
    """The loss of one batch. `model.training` tells fitting from validation."""

    helper: torch.nn.Module | None = None
    """Weights trained along with the model and thrown away."""
    key: str = ""
    """Tells this objective from others where training is resumed."""

    def start(self, model: torch.nn.Module, example: torch.Tensor) -> None:
        """Called once, with two cases, when model and cases are on the device of training."""

    def loss(self, model: torch.nn.Module, inputs: torch.Tensor, targets: Targets) -> torch.Tensor:
        """A scalar that `backward` can be called on."""
        raise NotImplementedError

    def finish(self) -> None:
        """Called once, also after a failure."""


class Supervised(Objective):
    """A loss of outputs and labels."""

    def __init__(self, function: LossFunction) -> None:
        self.function = function

    def loss(self, model: torch.nn.Module, inputs: torch.Tensor, targets: Targets) -> torch.Tensor:
        """The weighted loss of the model's outputs, computed in float32."""
        return weighted(self.function, model(inputs).float(), targets)


def weighted(function: LossFunction, outputs: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Sum of weight x function(outputs, labels)."""
    labels, weight = targets[0]
    total = weight * function(outputs, labels)
    for labels, weight in targets[1:]:
        total = total + weight * function(outputs, labels)
    return total
