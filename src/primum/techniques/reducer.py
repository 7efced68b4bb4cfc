"""ModelReducer: a smaller network, with the caller's own measure of accuracy before and after."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any

from primum.config import PruningMethod, ReductionConfig
from primum.errors import InputError
from primum.techniques.distillation import DistillationResult, apply_distillation
from primum.techniques.pruning.methods import prune_by
from primum.techniques.registry import Context

if TYPE_CHECKING:
    import torch

Validation = Callable[["torch.nn.Module", Any], float]
"""(model, test data) to an accuracy."""


@dataclass(frozen=True)
class PruningResult:
    """A pruned copy. The accuracies are what the caller's function gives, NaN where there is none: no verdict."""

    model: torch.nn.Module
    method: PruningMethod
    pruning_ratio: float
    compression_ratio: float
    """Size before over after, as saved without compression: 1 where weights were only zeroed."""
    sparsity: float
    """Share of the weights of all products that are gone or zero, as `PruningInfo.final_sparsity`."""
    parameters_before: int
    parameters_after: int
    accuracy_before: float
    accuracy_after: float
    notes: tuple[str, ...]

    @property
    def accuracy_impact(self) -> float:
        """Accuracy after minus before; NaN where it was not measured."""
        return self.accuracy_after - self.accuracy_before


class ModelReducer:
    """Reduces models by one configuration."""

    def __init__(self, config: ReductionConfig | None = None) -> None:
        self.config = config or ReductionConfig()

    def apply_pruning(
        self,
        model: torch.nn.Module,
        pruning_ratio: float | None = None,
        validation_function: Validation | None = None,
        test_data: Any = None,
        *,
        method: PruningMethod | str | None = None,
        example_inputs: Any = None,
        context: Context | None = None,
    ) -> PruningResult:
        """Prune a copy of `model`; ratio and method are the configuration's unless given.

        `validation_function(model, test_data)` judges the model before and after. Raises InputError where it does not
        take these two, fails or returns no number, before anything is pruned; and what `prune_by` raises.
        """
        ratio = self.config.prune_ratio if pruning_ratio is None else pruning_ratio
        kind = self.config.prune_method if method is None else method
        _check(validation_function)
        before = _accuracy(validation_function, model, test_data)
        result = prune_by(model, kind, ratio, context or Context(), example_inputs=example_inputs)
        notes = result.notes
        if validation_function is None:
            notes = (*notes, "accuracy was not measured: no validation_function was given")
        return PruningResult(
            result.model,
            PruningMethod(kind),
            ratio,
            result.info.compression_ratio,
            result.info.final_sparsity,
            result.info.parameters_before,
            result.info.parameters_after,
            before,
            _accuracy(validation_function, result.model, test_data),
            notes,
        )

    def apply_distillation(
        self,
        teacher_model: torch.nn.Module,
        student_model: torch.nn.Module,
        distillation_data: Any,
        **settings: Any,
    ) -> DistillationResult:
        """Teach `student_model` to answer as `teacher_model`; see `distillation.apply_distillation`, also for
        `settings` (config, units, signature, seed).
        """
        return apply_distillation(teacher_model, student_model, distillation_data, **settings)


def _accuracy(function: Validation | None, model: torch.nn.Module, data: Any) -> float:
    if function is None:
        return nan
    try:
        value = function(model, data)
    # A user's own function raises whatever it raises.
    except Exception as error:
        raise InputError(f"validation_function failed: {type(error).__name__}: {error}") from error
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"validation_function must return a number, not {type(value).__name__}") from error


def _check(function: Any) -> None:
    if function is None:
        return
    if not callable(function):
        raise InputError(f"validation_function must be a function of (model, test_data), not {type(function).__name__}")
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        raise InputError(f"validation_function must take (model, test_data): {error}") from error
    except ValueError:  # a function of another language does not tell
        return
