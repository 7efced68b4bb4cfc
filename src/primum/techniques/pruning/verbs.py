"""Pruning in one line. What there is to say goes to `context.notes` where one is given, else it is warned of."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from primum.config import PruningMethod
from primum.techniques.pruning.methods import prune_by
from primum.techniques.registry import Context

if TYPE_CHECKING:
    import torch


def prune_model(
    model: torch.nn.Module,
    method: PruningMethod | str = PruningMethod.MAGNITUDE,
    amount: float = 0.3,
    *,
    example_inputs: Any = None,
    context: Context | None = None,
) -> torch.nn.Module:
    """A copy of `model` with `amount` of each layer's weights zeroed, or of its channels removed (STRUCTURED,
    ACTIVATION).

    `example_inputs` (N, *input_shape) serve tracing and, for ACTIVATION, calibration. Raises InputError for an unknown
    method, an amount outside [0, 1) or missing inputs, MissingExtra without torch-pruning where channels go, and
    TrialError where none can.
    """
    result = prune_by(model, method, amount, context or Context(), example_inputs=example_inputs)
    if context is None:
        warnings.warn("; ".join(result.notes), UserWarning, stacklevel=2)
    else:
        for note in result.notes:
            context.note(note)
    return result.model


def structured_pruning(
    model: torch.nn.Module, amount: float = 0.3, *, example_inputs: Any = None, context: Context | None = None
) -> torch.nn.Module:
    """`prune_model` by STRUCTURED: channels are removed, not merely zeroed."""
    return prune_model(model, PruningMethod.STRUCTURED, amount, example_inputs=example_inputs, context=context)
