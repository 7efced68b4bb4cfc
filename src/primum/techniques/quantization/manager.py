"""Quantization that chooses its own strategy and says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from primum.config import OptimizationConfig, QuantizationConfig
from primum.errors import InputError, MissingExtra, TrialError
from primum.hardware.machine import Machine, this_machine
from primum.level import OptimizationLevel
from primum.techniques.operations import count_operations
from primum.techniques.quantization.dynamic import quantize_dynamic_int8
from primum.techniques.quantization.graph import as_module, copied
from primum.techniques.quantization.layers import Skipped
from primum.techniques.quantization.sizes import stored_bytes
from primum.techniques.quantization.static import batches_of, quantize_static_int8
from primum.techniques.quantization.strategy import Strategy, choose
from primum.techniques.quantization.weight_only import quantize_weights

if TYPE_CHECKING:
    import torch

_MEGA = 1e6


@dataclass(frozen=True)
class QuantizationResult:
    """What became of a model. Sizes are those of its stored weights, in bytes."""

    model: torch.nn.Module
    strategy: str
    """Where the first choice failed, the one that worked; "none" where the model is as it was."""
    why: str
    original_bytes: int
    quantized_bytes: int
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def compression_ratio(self) -> float:
        """Original size over quantized size."""
        return self.original_bytes / max(self.quantized_bytes, 1)

    @property
    def original_size_mb(self) -> float:
        """In units of 10^6 bytes."""
        return self.original_bytes / _MEGA

    @property
    def quantized_size_mb(self) -> float:
        """In units of 10^6 bytes."""
        return self.quantized_bytes / _MEGA


_UNPROVEN = ("not validated: judge it on labelled patients before anyone relies on it",)


class QuantizationManager:
    """Chooses a strategy from the model's weights, the machine and the level, and applies it.

    A subclass may override `_custom_quantization_logic`; where that returns a model, it is the result.
    """

    def __init__(
        self,
        config: QuantizationConfig | OptimizationConfig | None = None,
        *,
        level: OptimizationLevel | None = None,
        calibration_loader: Any = None,
        machine: Machine | None = None,
    ) -> None:
        """`level` None: no limit but the configuration's.

        `calibration_loader`: an array (N, *input_shape) or batches of inputs; without it, no static INT8.
        """
        if isinstance(config, OptimizationConfig):
            level = level or config.level
            config = config.quantization
        self.config = (config or QuantizationConfig()).in_use()
        self.level = level
        self.calibration_loader = calibration_loader
        self.machine = machine or this_machine()

    def quantize_model(self, model: torch.nn.Module) -> QuantizationResult:
        """Quantize a copy of `model`.

        Raises InputError where it is no module, or a scheme that was named lacks calibration data; TrialError where a
        scheme that was named, or an own one, does not work. A scheme that was chosen falls back, and says so.
        """
        original = as_module(model)
        size = stored_bytes(original)
        custom = self._custom(original)
        if custom is not None:
            why = f"{type(self).__name__}._custom_quantization_logic returned a model"
            return QuantizationResult(custom, "custom", why, size, stored_bytes(custom), (), _UNPROVEN)
        batches = None if self.calibration_loader is None else batches_of(self.calibration_loader)
        macs = None if batches is None else _macs(original, batches[0])
        wanted = choose(original, self.config, self.level, self.machine, batches is not None, macs)
        made, skipped, notes, strategy = self._with_fallback(original, wanted, batches)
        return QuantizationResult(
            made, strategy.name, strategy.why, size, stored_bytes(made), skipped, (*notes, *self._unproven(strategy))
        )

    def _custom_quantization_logic(self, model: torch.nn.Module) -> torch.nn.Module | None:
        """For a subclass: a quantized model (a copy is handed in), or None to leave the choice to the manager."""
        return None

    def _custom(self, original: torch.nn.Module) -> torch.nn.Module | None:
        from torch import nn

        if type(self)._custom_quantization_logic is QuantizationManager._custom_quantization_logic:
            return None
        try:
            made = self._custom_quantization_logic(copied(original))
        # A user's own code raises whatever it raises; the study goes on without it.
        except Exception as error:
            raise TrialError(f"{type(self).__name__}._custom_quantization_logic failed: {error}") from error
        if made is not None and not isinstance(made, nn.Module):
            raise TrialError(
                f"{type(self).__name__}._custom_quantization_logic returned {type(made).__name__}, not a torch module"
            )
        return made

    def _with_fallback(
        self, model: torch.nn.Module, wanted: Strategy, batches: list[torch.Tensor] | None
    ) -> tuple[torch.nn.Module, tuple[Skipped, ...], tuple[str, ...], Strategy]:
        try:
            return (*self._apply(model, wanted.name, batches), wanted)
        except (TrialError, MissingExtra) as error:
            if wanted.named:
                raise
            failed = error
        for name in ("dynamic_int8",) if wanted.name != "dynamic_int8" else ():
            try:
                done = self._apply(model, name, batches)
            except TrialError:
                break
            return (*done, Strategy(name, f"{wanted.name} was chosen ({wanted.why}) but failed: {failed}"))
        return model, (), (), Strategy("none", f"{wanted.name} was chosen ({wanted.why}) but failed: {failed}")

    def _apply(
        self, model: torch.nn.Module, name: str, batches: list[torch.Tensor] | None
    ) -> tuple[torch.nn.Module, tuple[Skipped, ...], tuple[str, ...]]:
        if name == "none":
            return model, (), ()
        if name == "dynamic_int8":
            return (*quantize_dynamic_int8(model), ())
        if name == "static_int8":
            return quantize_static_int8(model, batches_of(None) if batches is None else batches)
        if name.startswith("weight_only_"):
            dtype = name.removeprefix("weight_only_")
            return (*quantize_weights(model, dtype, "bitsandbytes" if dtype == "nf4" else "torchao"), ())  # type: ignore[arg-type]
        raise InputError("quantization-aware training needs labelled data: use quantize_aware_training")

    def _unproven(self, strategy: Strategy) -> tuple[str, ...]:
        if strategy.name == "none":
            return ()
        return _UNPROVEN


def _macs(model: torch.nn.Module, batch: torch.Tensor) -> int | None:
    """Multiply-accumulates of one case; None where they cannot be counted."""
    try:
        total = count_operations(model, batch[:1]).total
    # A model raises whatever it raises; the strategy that is chosen then says what is wrong with it.
    except Exception:  # noqa: BLE001
        return None
    return None if total is None else total // 2
