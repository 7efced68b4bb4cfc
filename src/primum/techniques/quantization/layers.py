"""Which layers of a model a scheme reaches, and which it leaves, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_FEW = 8


@dataclass(frozen=True)
class Skipped:
    """A layer that stays in floating point, and why."""

    name: str
    kind: str
    why: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.name} ({self.kind}) stays in FP32: {self.why}"


def weighted_layers(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """Modules that hold a weight of two or more axes themselves: convolutions, linear, recurrent, embeddings, own."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if any(p.ndim >= 2 for p in module.parameters(recurse=False))
    ]


def still_float(model: torch.nn.Module, why: dict[str, str], otherwise: str) -> tuple[Skipped, ...]:
    """The layers of a quantized model that still hold floating-point weights; `why` by the kind of layer."""
    return tuple(
        Skipped(name or "the model itself", type(module).__name__, why.get(type(module).__name__, otherwise))
        for name, module in weighted_layers(model)
        if any(p.ndim >= 2 and p.is_floating_point() for p in module.parameters(recurse=False))
    )


def listed(skipped: tuple[Skipped, ...]) -> list[str]:
    """Sentences for the notes: the first eight, then a count."""
    lines = [str(s) for s in skipped[:_FEW]]
    return lines + ([f"{len(skipped) - _FEW} more layers stay in FP32"] if len(skipped) > _FEW else [])
