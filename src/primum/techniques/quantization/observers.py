"""How the range of an activation is found on calibration data, for static INT8 in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Observer = Literal["minmax", "entropy", "percentile"]
_PERCENTILE = 99.99
_SAMPLE = 4096
"""Values kept of each batch for a percentile."""


def activation_observer(kind: Observer, reduce_range: bool) -> Callable[[], Any]:
    """A factory of torch.ao observers for unsigned 8-bit activations.

    `minmax` takes the whole range; `entropy` is torch's histogram search for the range of least squared error, which
    TensorRT calls entropy calibration in its own form; `percentile` cuts 0.01 % at each end. `reduce_range` keeps
    activations to 7 bits, for CPUs whose products of 8 by 8 bits saturate.
    """
    import torch
    from torch.ao.quantization import observer

    chosen = {"minmax": observer.MinMaxObserver, "entropy": observer.HistogramObserver, "percentile": _percentile()}
    return chosen[kind].with_args(  # type: ignore[no-any-return]
        dtype=torch.quint8, qscheme=torch.per_tensor_affine, reduce_range=reduce_range
    )


def _percentile() -> Any:
    """The class, made on demand: torch is imported only where it is needed."""
    import torch
    from torch.ao.quantization.observer import UniformQuantizationObserverBase

    class PercentileObserver(UniformQuantizationObserverBase):  # type: ignore[misc]
        """Range from the 0.01th to the 99.99th percentile of evenly spaced values of every batch."""

        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.kept: list[torch.Tensor] = []

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            flat = values.detach().flatten()
            if flat.numel():
                # The extremes of a batch are kept whole; a stride alone would miss them.
                low, high = torch.aminmax(flat)
                step = max(1, flat.numel() // _SAMPLE)
                self.kept.append(torch.cat([flat[::step].float(), low[None].float(), high[None].float()]))
            return values

        def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
            if not self.kept:
                return torch.tensor([1.0]), torch.tensor([0])
            seen = torch.cat(self.kept)
            share = _PERCENTILE / 100
            low, high = torch.quantile(_thinned(seen), torch.tensor([1 - share, share]))
            return self._calculate_qparams(low, high)  # type: ignore[no-any-return]

    return PercentileObserver


def _thinned(values: Any) -> Any:
    """At most 2**24 values: torch.quantile takes no more."""
    return values[:: -(-len(values) // 2**24)]
