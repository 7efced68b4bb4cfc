"""Empirical bias correction: Nagel et al. 2019 (arXiv:1906.04721), section 4.2.

Rounded weights and activations shift the mean of a layer's outputs; the shift, measured on calibration data channel by
channel before the activation function, is taken off the bias. Layers are corrected in the order in which they run, each
on what the corrected layers before it give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def correct_biases(reference: torch.nn.Module, quantized: torch.nn.Module, batches: list[torch.Tensor]) -> str:
    """Correct the INT8 layers of `quantized` (from torch.fx) in place against the FP32 model; returns a note.

    Both models name their layers alike. `reference` is changed: its batch norms are folded.
    """
    from primum.techniques.quantization.folding import fold_batch_norm

    fold_batch_norm(reference)
    names = [n for n in _in_order(quantized, batches[0]) if _comparable(reference, n)]
    wanted = {name: _mean(reference, name, batches) for name in names}
    largest = 0.0
    for name in names:
        layer = quantized.get_submodule(name)
        shift = _mean(quantized, name, batches) - wanted[name]
        _set_bias(layer, shift)
        largest = max(largest, float(shift.abs().max()))
    return f"biases of {len(names)} layers corrected, by at most {largest:.3g}"


def mean_shifts(
    reference: torch.nn.Module, quantized: torch.nn.Module, batches: list[torch.Tensor]
) -> dict[str, torch.Tensor]:
    """For each INT8 layer, E[its FP32 output] - E[its INT8 output] by channel; `reference` has no batch norm left."""
    names = [n for n in _in_order(quantized, batches[0]) if _comparable(reference, n)]
    return {n: _mean(reference, n, batches) - _mean(quantized, n, batches) for n in names}


def _in_order(quantized: torch.nn.Module, batch: torch.Tensor) -> list[str]:
    """Names of the INT8 layers with a weight, in the order in which they run."""
    order: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda _m, _i, name=name: order.append(name))
        for name, module in quantized.named_modules()
        if hasattr(module, "_weight_bias") or hasattr(module, "_packed_params")
    ]
    _run(quantized, [batch[:1]], hooks)
    return [name for name in dict.fromkeys(order) if order.count(name) == 1]


def _comparable(reference: torch.nn.Module, name: str) -> bool:
    from torch import nn

    try:
        found = reference.get_submodule(name)
    except AttributeError:
        return False
    return isinstance(found, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear))


def _mean(model: torch.nn.Module, name: str, batches: list[torch.Tensor]) -> torch.Tensor:
    """Mean of a layer's outputs before its activation function, by channel, float64."""
    import torch

    layer = model.get_submodule(name)
    total, count = torch.zeros((), dtype=torch.float64), 0

    def see(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal total, count
        outputs = _before_activation(layer, inputs[0])
        rest = [d for d in range(outputs.ndim) if d != _channel_axis(layer, outputs)]
        total = total + outputs.double().sum(rest)
        count += outputs.numel() // outputs.shape[_channel_axis(layer, outputs)]

    _run(model, batches, [layer.register_forward_pre_hook(see)])
    return total / max(count, 1)


def _channel_axis(layer: torch.nn.Module, outputs: torch.Tensor) -> int:
    return 1 if hasattr(layer, "kernel_size") else outputs.ndim - 1


def _before_activation(layer: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """W x + b with the layer's own (dequantized) weight and input: a fused ReLU is left out."""
    from torch.nn import functional

    if inputs.is_quantized:
        inputs = inputs.dequantize()
    weight, bias = _weight_bias(layer)
    if not hasattr(layer, "kernel_size"):
        return functional.linear(inputs, weight, bias)
    if layer.padding_mode != "zeros":
        sides = layer._reversed_padding_repeated_twice
        inputs = functional.pad(inputs, sides, mode=layer.padding_mode)
    padding = layer.padding if layer.padding_mode == "zeros" else 0
    convolve = {3: functional.conv1d, 4: functional.conv2d, 5: functional.conv3d}[weight.ndim]
    return convolve(inputs, weight, bias, layer.stride, padding, layer.dilation, layer.groups)


def _weight_bias(layer: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    weight, bias = layer.weight, layer.bias
    weight, bias = (weight() if callable(weight) else weight), (bias() if callable(bias) else bias)
    return (weight.dequantize() if weight.is_quantized else weight), bias


def _set_bias(layer: Any, shift: torch.Tensor) -> None:
    weight, bias = layer.weight(), layer.bias()
    shift = shift.to(weight.dequantize().dtype)
    layer.set_weight_bias(weight, -shift if bias is None else (bias - shift).detach())


def _run(model: torch.nn.Module, batches: list[torch.Tensor], hooks: list[Any]) -> None:
    import torch

    try:
        with torch.no_grad():
            for batch in batches:
                model(batch)
    finally:
        for hook in hooks:
            hook.remove()
