"""One entry to every method of pruning, by name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from primum.config import PruningMethod
from primum.errors import InputError
from primum.techniques.pruning.example import example_input
from primum.techniques.pruning.gradual import FineTune, PruneGradually, prune_gradually
from primum.techniques.pruning.info import PruningInfo, compare
from primum.techniques.pruning.structured import Importance, PruneChannels, prune_channels
from primum.techniques.pruning.unstructured import PruneWeights, prune_weights
from primum.techniques.registry import Context

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Pruned:
    """A pruned copy, what changed, and what there is to say about it."""

    model: torch.nn.Module
    info: PruningInfo
    notes: tuple[str, ...]


def prune_by(
    model: torch.nn.Module,
    method: PruningMethod | str,
    amount: float,
    context: Context,
    *,
    example_inputs: Any = None,
    n_iterations: int = 1,
    names: tuple[str, ...] = ("weight",),
    scope: Literal["layer", "global"] = "layer",
    fine_tune: FineTune | None = None,
) -> Pruned:
    """Prune a copy of `model`; `amount` in [0, 1) is the share of weights (of channels) that go.

    MAGNITUDE and GRADUAL zero weights; STRUCTURED and ACTIVATION remove channels, the latter by `context.calibration`
    (or, without it, `example_inputs` as calibration). Raises InputError for an unknown method or amount, missing data,
    and what the method itself raises.
    """
    from torch import nn

    kind = _method(method)
    if not isinstance(model, nn.Module):
        raise InputError(f"a torch module is needed to prune, not {type(model).__name__}")
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise InputError(f"amount must be a number, a share at least 0 and below 1, not {amount!r}")
    if not 0 <= amount < 1:
        raise InputError(f"amount must be at least 0 and below 1, not {amount}: it is a share")
    # Before anything is pruned: what is given must fit.
    example = _example(model, example_inputs, context)
    if kind in (PruningMethod.STRUCTURED, PruningMethod.ACTIVATION):
        if fine_tune is not None:
            raise InputError(f"{kind.value} pruning does not train: distill what it gives, or take method='gradual'")
        pruned, notes = _channels(model, kind, amount, scope, context, example_inputs, example)
        notes += _unused(n_iterations, names)
    else:
        pruned, notes = _weights(model, kind, amount, n_iterations, names, scope, context, fine_tune)
    info = compare(model, pruned, example)
    return Pruned(pruned, info, (*notes, *info.notes))


def _unused(steps: int, names: tuple[str, ...]) -> tuple[str, ...]:
    """What was asked for and means nothing where channels are removed."""
    once = (f"channels removed once: {steps} iterations with no training between give the same",) if steps > 1 else ()
    whole = (f"channels go from every tensor of a layer, not from {', '.join(names)} alone",)
    return (*once, *(whole if set(names) != {"weight"} else ()))


def _method(method: PruningMethod | str) -> PruningMethod:
    try:
        return PruningMethod(method)
    except ValueError as error:
        raise InputError(f"no pruning method {method!r}; there are {', '.join(PruningMethod)}") from error


def _channels(
    model: torch.nn.Module,
    kind: PruningMethod,
    amount: float,
    scope: Any,
    context: Context,
    example_inputs: Any,
    example: torch.Tensor | None,
) -> tuple[torch.nn.Module, tuple[str, ...]]:
    import copy

    if amount == 0:
        return copy.deepcopy(model), ("amount 0: nothing removed",)
    by_activation = kind is PruningMethod.ACTIVATION
    if by_activation and context.calibration is None and example_inputs is not None and example is not None:
        import numpy as np
        import torch

        cases = torch.as_tensor(example_inputs).cpu()
        # Whole numbers as such only to a model that takes them: see example_input.
        cases = cases.float() if example.is_floating_point() else cases
        context = dataclasses.replace(context, calibration=np.asarray(cases))
    importance = Importance.ACTIVATION if by_activation else Importance.MAGNITUDE
    config = PruneChannels(ratio=amount, importance=importance, scope=scope)
    removal = prune_channels(model, config, context, example_inputs)
    return removal.model, removal.notes


def _weights(
    model: torch.nn.Module,
    kind: PruningMethod,
    amount: float,
    steps: int,
    names: tuple[str, ...],
    scope: Any,
    context: Context,
    fine_tune: FineTune | None,
) -> tuple[torch.nn.Module, tuple[str, ...]]:
    if kind is PruningMethod.GRADUAL:
        gradual = PruneGradually(amount=amount, n_iterations=steps, scope=scope, parameters=names)
        result = prune_gradually(model, gradual, context, fine_tune)
        return result.model, result.notes
    if fine_tune is not None:
        raise InputError("magnitude pruning does not train: give method='gradual' with fine_tune")
    result = prune_weights(model, PruneWeights(amount=amount, scope=scope, parameters=names))
    once = (f"pruned once: {steps} iterations with no training between give the same",) if steps > 1 else ()
    return result.model, (*result.notes, *once)


def _example(model: torch.nn.Module, given: Any, context: Context) -> torch.Tensor | None:
    try:
        return example_input(model, given, context)[0]
    except InputError:
        if given is not None:
            raise
        return None
