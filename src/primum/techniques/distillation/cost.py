"""What a network costs, counted rather than timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from primum.techniques.operations import count_operations

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Cost:
    """Weights, and multiply-accumulates of matrix products, convolutions and recurrent layers for one case; of
    recurrent layers that take packed sequences none."""

    parameters: int
    macs: int


def cost(model: torch.nn.Module, input_shape: tuple[int, ...]) -> Cost:
    """The cost of `model` on one input of `input_shape`. The model is left as it was."""
    import torch

    place = next((p.device for p in model.parameters()), torch.device("cpu"))
    counted = count_operations(model, torch.zeros(1, *input_shape, device=place))
    return Cost(sum(p.numel() for p in model.parameters()), counted.by_module[""] // 2)
