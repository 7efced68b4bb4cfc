"""Weights rounded to a few bits and kept as floats: the deliberate harm that shows whether the gate can see harm.

A clinical trial calls this assay sensitivity: a comparison that cannot reject a harmful treatment proves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from primum.techniques.registry import Context, TechniqueConfig, technique

if TYPE_CHECKING:
    import torch


def _round(model: torch.nn.Module, config: RoundWeights, context: Context) -> torch.nn.Module:
    import torch

    levels = 2 ** (config.bits - 1) - 1
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2:
                continue
            step = parameter.abs().amax() / levels
            if step > 0:
                parameter.copy_(torch.round(parameter / step) * step)
    return model


@technique("round_weights", _round)
class RoundWeights(TechniqueConfig):
    """Round every weight tensor to `bits` bits, symmetric, one scale a tensor. Harmful below about 5 bits."""

    bits: int = Field(ge=2, le=8)
