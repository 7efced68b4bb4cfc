"""What a network costs, counted rather than timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Cost:
    """Weights, and multiply-accumulates of matrix products and convolutions for one case."""

    parameters: int
    macs: int


def cost(model: torch.nn.Module, input_shape: tuple[int, ...]) -> Cost:
    """The cost of `model` on one input of `input_shape`. The model is left as it was."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    place = next((p.device for p in model.parameters()), torch.device("cpu"))
    was, fast = model.training, torch.backends.mha.get_fastpath_enabled()
    # Fused encoder layers and attention are operations that the counter does not know.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            model.eval()(torch.zeros(1, *input_shape, device=place))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        model.train(was)
    return Cost(sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2)
