"""The quantizers and one-line verbs of the specification, over the same functions as the techniques."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from primum.config import QuantizationConfig, QuantizationScheme
from primum.errors import InputError
from primum.techniques.context import Context, TrainingData
from primum.techniques.quantization.dynamic import quantize_dynamic_int8
from primum.techniques.quantization.graph import as_module, copied
from primum.techniques.quantization.layers import Skipped
from primum.techniques.quantization.observers import Observer
from primum.techniques.quantization.qat import QuantizationAwareTraining, finish_qat, prepare_qat
from primum.techniques.quantization.sizes import stored_bytes
from primum.techniques.quantization.static import batches_of, quantize_static_int8, taken

if TYPE_CHECKING:
    import torch

_MEGA = 1e6


class _Quantizer:
    """Remembers the original and what became of it."""

    def __init__(self, model: torch.nn.Module, config: QuantizationConfig | None) -> None:
        self.model = as_module(model)
        self.config = (config or QuantizationConfig()).in_use()
        if self.config.weight_bits != 8:
            raise InputError("dynamic and static quantization have 8 bits: for 4 use the technique weight_only")
        self.quantized: torch.nn.Module | None = None
        self.skipped: tuple[Skipped, ...] = ()
        self.notes: tuple[str, ...] = ()

    def _check_scheme(self, own: QuantizationScheme) -> None:
        kind = self.config.quantization_type
        if isinstance(kind, QuantizationScheme) and kind is not own:
            raise InputError(f"the configuration asks for {kind.value} quantization, this quantizer does {own.value}")

    def optimize(self) -> torch.nn.Module:
        """The quantized model, a copy; the original is not changed."""
        raise NotImplementedError

    def get_size_info(self) -> dict[str, float]:
        """`original_size_mb`, `quantized_size_mb` (stored weights, 10^6 bytes), `compression_ratio`, `size_reduction`.

        Quantizes where `optimize` was not called yet.
        """
        made = self.quantized if self.quantized is not None else self.optimize()
        before, after = stored_bytes(self.model), stored_bytes(made)
        return {
            "original_size_mb": before / _MEGA,
            "quantized_size_mb": after / _MEGA,
            "compression_ratio": before / after,
            "size_reduction": 1 - after / before,
        }


class DynamicQuantizer(_Quantizer):
    """INT8 weights of Linear, LSTM and GRU layers; activations stay in floating point between layers."""

    def __init__(self, model: torch.nn.Module, config: QuantizationConfig | None = None) -> None:
        """Raises InputError where the configuration asks for another scheme."""
        super().__init__(model, config)
        self._check_scheme(QuantizationScheme.DYNAMIC)

    def optimize(self) -> torch.nn.Module:
        """Raises TrialError where the model has none of these layers."""
        self.quantized, self.skipped = quantize_dynamic_int8(self.model)
        return self.quantized


class StaticQuantizer(_Quantizer):
    """INT8 weights and activations; ranges from calibration data."""

    def __init__(
        self,
        model: torch.nn.Module,
        config: QuantizationConfig | None = None,
        calibration_loader: Any = None,
        *,
        per_channel: bool = True,
        observer: Observer = "entropy",
        bias_correction: bool = False,
    ) -> None:
        """`calibration_loader`: an array (N, *input_shape), or batches of inputs, alone or first in a tuple."""
        super().__init__(model, config)
        self._check_scheme(QuantizationScheme.STATIC)
        if self.config.quantize_activations is False:
            raise InputError("static quantization rounds activations too: leave out quantize_activations=False")
        self.calibration_loader = calibration_loader
        self.per_channel, self.observer, self.bias_correction = per_channel, observer, bias_correction

    def optimize(self) -> torch.nn.Module:
        """Raises InputError without calibration data, TrialError where the model cannot be traced."""
        self.quantized, self.skipped, self.notes = quantize_static_int8(
            self.model,
            batches_of(self.calibration_loader),
            per_channel=self.per_channel,
            observer=self.observer,
            bias_correction=self.bias_correction,
        )
        return self.quantized


def quantize_dynamic(model: torch.nn.Module) -> torch.nn.Module:
    """A copy with INT8 weights of Linear, LSTM and GRU layers. Raises TrialError where there are none."""
    return DynamicQuantizer(model).optimize()


def quantize_static(model: torch.nn.Module, calibration_data: Any) -> torch.nn.Module:
    """A copy with INT8 weights and activations, ranges from `calibration_data`. Raises InputError without them."""
    return StaticQuantizer(model, calibration_loader=calibration_data).optimize()


def quantize_model(
    model: torch.nn.Module,
    quantization_type: str = "dynamic",
    bits: Literal[4, 8] = 8,
    calibration_loader: Any = None,
) -> torch.nn.Module:
    """A quantized copy by the scheme called static, dynamic or weight_only.

    Raises InputError for another scheme, for bits that the scheme does not have, and where static quantization has no
    calibration data.
    """
    from primum.techniques.quantization.weight_only import quantize_weights

    if bits not in (4, 8):
        raise InputError(f"weights have 8 or 4 bits, not {bits}")
    if quantization_type == "weight_only":
        return quantize_weights(as_module(model), "int4" if bits == 4 else "int8")[0]
    if quantization_type not in ("static", "dynamic"):
        raise InputError(f"quantization_type is static, dynamic or weight_only, not {quantization_type!r}")
    config = QuantizationConfig(quantization_type=QuantizationScheme(quantization_type), bits=bits)
    if quantization_type == "static":
        return StaticQuantizer(model, config, calibration_loader).optimize()
    return DynamicQuantizer(model, config).optimize()


def quantize_aware_training(
    model: torch.nn.Module,
    train_loader: Any,
    epochs: int = 5,
    *,
    loss: Any = None,
    learning_rate: float = 1e-4,
    context: Context | None = None,
) -> torch.nn.Module:
    """A copy trained with INT8 rounding on a loader of (inputs, labels); the result exports as INT8.

    `loss(outputs, labels)`: None takes cross-entropy for whole-number labels and several outputs, binary cross-entropy
    for 0 and 1 with one output, squared error else. No case is held out: judge the result on other patients. What was
    done is in `context.notes`.
    """
    from primum.techniques.training import train

    context = context or Context()
    data, size = _training_data(train_loader)
    first = batches_of(data.inputs[:512], "quantization-aware training")
    if taken(copied(as_module(model)), first, "quantization-aware training")[0].is_floating_point():
        data = replace(data, inputs=data.inputs.astype(np.float32, copy=False))
    prepared, skipped, notes = prepare_qat(model, first)
    for line in (*notes, *map(str, skipped)):
        context.note(line)
    config = QuantizationAwareTraining(epochs=epochs, batch=size, learning_rate=learning_rate, validation=0.0)
    # Training hands every input on as float32: whole numbers are made whole again.
    taught = prepared if data.inputs.dtype == np.float32 else _of_whole_numbers(prepared)
    train(taught, loss or _usual_loss, data, config, context, name="qat")
    return finish_qat(prepared)


def _of_whole_numbers(model: torch.nn.Module) -> torch.nn.Module:
    from torch import nn

    class WholeNumbers(nn.Module):  # type: ignore[misc]
        """`model` on inputs rounded to whole numbers."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: torch.Tensor) -> Any:
            return self.model(x.round().long())

    return WholeNumbers()


def _training_data(loader: Any) -> tuple[TrainingData, int]:
    """All of a loader's cases, and the size of its largest batch."""
    if not isinstance(loader, Iterable):
        raise InputError("quantization-aware training needs a loader of (inputs, labels)")
    inputs, labels = [], []
    for item in loader:
        if not isinstance(item, (tuple, list)) or len(item) < 2:
            raise InputError("quantization-aware training needs a loader of (inputs, labels); it gave no pairs")
        inputs.append(_inputs(item[0]))
        labels.append(np.asarray(item[1]))
    if not inputs:
        raise InputError("quantization-aware training needs labelled data: the loader gave no batch")
    if len({batch.shape[1:] for batch in inputs}) > 1 or len({batch.dtype for batch in inputs}) > 1:
        raise InputError("quantization-aware training needs batches of one shape and type; the loader gave several")
    cases = np.concatenate(inputs)
    units = np.arange(len(cases)).astype(str)
    return TrainingData(cases, np.concatenate(labels), units), max(len(batch) for batch in inputs)


def _inputs(given: Any) -> NDArray[Any]:
    """Whole numbers (token ids) as int64, all else as float32."""
    try:
        found = np.asarray(given)
        return found.astype(np.int64 if found.dtype.kind in "iub" else np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"quantization-aware training needs inputs that are one tensor or array; the loader gave "
            f"{type(given).__name__}"
        ) from error


def _usual_loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    import torch
    from torch.nn import functional

    whole = not labels.is_floating_point()
    if whole and labels.ndim == outputs.ndim - 1 and outputs.shape[1] > 1:
        return functional.cross_entropy(outputs, labels.long())
    truth = labels.to(outputs.dtype).reshape(outputs.shape)
    if whole or bool(torch.isin(truth, torch.tensor([0.0, 1.0])).all()):
        return functional.binary_cross_entropy_with_logits(outputs, truth)
    return functional.mse_loss(outputs, truth)
