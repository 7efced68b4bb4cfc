"""Rounding that training can see through: the forward pass rounds, the backward pass does not.

Straight-through gradients inside the range, none outside (Bengio et al. 2013; Jacob et al. 2018). A learned step has
the gradient of Esser et al. 2020 (arXiv:1902.08153), which follows from the same formula.
"""

from __future__ import annotations

import torch
from torch import nn

from primum.techniques.quantization.qdq import IntegerConvolution, IntegerLinear, IntegerWeight, QuantizeDequantize

_LEVELS = 255
_MOMENTUM = 0.01
"""Share of each training batch in the bounds."""
_SMALLEST = 1e-8
_LARGEST_BIAS = 2.0**30


def round_through(x: torch.Tensor) -> torch.Tensor:
    """round(x), with the gradient of x."""
    return x + (x.round() - x).detach()


class FakeActivation(nn.Module):  # type: ignore[misc]
    """Activations rounded to 256 levels between two bounds, asymmetric, 0 exactly representable.

    While `calibrating`, activations pass as they are and the bounds average those of the batches. Afterwards, in
    training, the bounds go on following the data slowly, or the width of a step is a parameter (`learned`).
    """

    def __init__(self, learned: bool = False) -> None:
        super().__init__()
        self.learned, self.calibrating = learned, True
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.batches = 0
        self.log_step = nn.Parameter(torch.zeros(()), requires_grad=learned)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape, float32."""
        if self.calibrating:
            self.batches += 1
            self._follow(x, 1 / self.batches)
            return x
        if self.training and not self.learned:
            self._follow(x, _MOMENTUM)
        scale, zero = self.scale(), self.zero_point()
        return (torch.clamp(round_through(x / scale) + zero, 0, _LEVELS) - zero) * scale

    def _follow(self, x: torch.Tensor, weight: float) -> None:
        low, high = torch.aminmax(x.detach())
        self.low.lerp_(low.clamp(max=0), weight)
        self.high.lerp_(high.clamp(min=0), weight)

    def calibrated(self) -> None:
        """From now on activations are rounded; a learned step starts from the calibrated bounds."""
        self.calibrating = False
        self.log_step.data.copy_(self._width().log())

    def scale(self) -> torch.Tensor:
        """Width of a step."""
        return self.log_step.exp() if self.learned else self._width()

    def zero_point(self) -> torch.Tensor:
        """The level that stands for 0; float32, whole, in 0..255."""
        return (-self.low / self._width()).round().clamp(0, _LEVELS)

    def _width(self) -> torch.Tensor:
        return ((self.high - self.low) / _LEVELS).clamp_min(_SMALLEST)

    def finished(self) -> QuantizeDequantize:
        """The module that inference uses."""
        return QuantizeDequantize(self.scale(), self.zero_point())


class FakeLayer(nn.Module):  # type: ignore[misc]
    """A convolution or linear layer whose weight is rounded on every pass: symmetric, one scale an output channel.

    `source` is the rounding of its input.
    """

    def __init__(self, layer: nn.Module, bits: int, source: FakeActivation) -> None:
        super().__init__()
        self.layer, self.calibrating = layer, True
        self._source = (source,)  # in a tuple, so that it is not a submodule of this layer too
        self.top = 2 ** (bits - 1) - 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the layer, with its weight on the grid of integers."""
        if self.calibrating:
            return self.layer(x)
        values, scale = self._values()
        return torch.func.functional_call(self.layer, {"weight": values * scale}, (x,))

    def calibrated(self) -> None:
        """From now on the weight is rounded."""
        self.calibrating = False

    def _values(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The weight as whole numbers in -top..top, and the scales, which multiply to the rounded weight."""
        weight = self.layer.weight
        largest = weight.detach().abs().flatten(1).amax(1).clamp_min(_SMALLEST)
        scale = torch.maximum(largest / self.top, self._least_scale()).reshape(-1, *[1] * (weight.ndim - 1))
        return torch.clamp(round_through(weight / scale), -self.top, self.top), scale

    def _least_scale(self) -> torch.Tensor:
        """Below this the bias of a nearly dead channel would not fit into INT32 on the grid of its products."""
        if self.layer.bias is None:
            return torch.zeros(())
        return self.layer.bias.detach().abs() / (self._source[0].scale().detach() * _LARGEST_BIAS)

    def finished(self) -> nn.Module:
        """The module that inference uses."""
        with torch.no_grad():
            values, scale = self._values()
            if isinstance(self.layer, nn.Linear):
                weight = IntegerWeight(values.round().t(), scale, axis=1)
                return IntegerLinear(self.layer, weight, self._source[0].scale())
            return IntegerConvolution(self.layer, IntegerWeight(values.round(), scale, axis=0))
