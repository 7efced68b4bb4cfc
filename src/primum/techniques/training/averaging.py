"""The moving average of weights, which generalises better than the last ones (Polyak & Juditsky 1992)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class Average:
    """Exponential moving average of a state dict; the decay grows from 0.1, so that the start is soon forgotten."""

    def __init__(self, state: dict[str, torch.Tensor], decay: float) -> None:
        self.state = {name: value.detach().clone() for name, value in state.items()}
        self.decay, self.updates = decay, 0

    def update(self, state: dict[str, torch.Tensor]) -> None:
        """Move towards `state`. What is not floating-point, and ranges that are still infinite, is copied."""
        import torch

        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, value in state.items():
            mean, value = self.state[name], value.detach()
            if not value.is_floating_point() or mean.shape != value.shape:
                self.state[name] = value.clone()
                continue
            moved = torch.lerp(value, mean, decay)
            self.state[name] = torch.where(torch.isfinite(moved), moved, value)
