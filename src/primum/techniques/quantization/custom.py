"""A user's own quantization as a technique, so that a study judges it like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from primum.errors import InputError, TrialError
from primum.hardware.machine import Machine
from primum.models.reference import import_own
from primum.techniques.quantization.manager import QuantizationManager
from primum.techniques.registry import Context, TechniqueConfig, technique

if TYPE_CHECKING:
    import torch


def load_manager(name: str, settings: dict[str, Any]) -> QuantizationManager:
    """The manager called "module:Class", made with `settings`. Raises InputError where it is none."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise InputError(f"manager {name!r}: write it as module:Class")
    if module == "__main__":
        raise InputError(
            f"manager {name!r}: put it into a module that can be imported; other processes cannot import this"
        )
    found = getattr(import_own(module, f"manager {name!r} cannot be imported"), attribute, None)
    if found is None:
        raise InputError(f"manager {name!r} cannot be imported: {module} has no {attribute}")
    if not (isinstance(found, type) and issubclass(found, QuantizationManager)):
        raise InputError(f"manager {name!r} is no subclass of primum.QuantizationManager")
    try:
        return found(**settings)
    # A user's own class raises whatever it raises.
    except Exception as error:
        raise InputError(f"manager {name!r} does not take these settings: {error}") from error


def _obstacle(config: CustomQuantization, machine: Machine) -> str | None:
    try:
        load_manager(config.manager, config.settings)
    except InputError as error:
        return str(error)
    return None


def _apply(model: torch.nn.Module, config: CustomQuantization, context: Context) -> torch.nn.Module:
    manager = load_manager(config.manager, config.settings)
    if manager.calibration_loader is None:
        manager.calibration_loader = context.calibration
    result = manager.quantize_model(model)
    if result.strategy != "custom":
        raise TrialError(f"{config.manager}: _custom_quantization_logic returned no model")
    context.note(f"{config.manager}: {result.original_size_mb:.3g} MB became {result.quantized_size_mb:.3g} MB")
    return result.model


def _module(config: CustomQuantization) -> str:
    return config.manager.partition(":")[0]


@technique("custom_quantization", _apply, reshapes=True, obstacle=_obstacle, module=_module)
class CustomQuantization(TechniqueConfig):
    """Apply `_custom_quantization_logic` of a subclass of QuantizationManager, from a module that can be imported."""

    manager: str = Field(pattern=r"^[\w.]+:\w+$")
    """module:Class"""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the class."""
