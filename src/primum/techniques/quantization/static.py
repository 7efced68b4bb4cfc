"""Static INT8 in torch: weights and activations as INT8, ranges from calibration data (Jacob et al. 2018).

Through torch.fx, because it fuses convolution, batch norm and ReLU, and quantizes residual additions, by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from primum.errors import InputError, TrialError
from primum.hardware.machine import Machine, this_machine
from primum.techniques.network import refusal
from primum.techniques.quantization.bias import correct_biases
from primum.techniques.quantization.engine import engine_in_use, missing_engine
from primum.techniques.quantization.graph import copied, module_at, trace
from primum.techniques.quantization.layers import Skipped, listed, still_float
from primum.techniques.quantization.observers import Observer, activation_observer
from primum.techniques.quantization.quiet import known_warnings_silenced
from primum.techniques.registry import Context, TechniqueConfig, technique

if TYPE_CHECKING:
    import torch

BATCH = 32
_LAST = "it gives the network's output, which 256 levels would make coarse"
_WHY = {
    "LSTM": "torch has no static INT8 for it: use dynamic INT8",
    "GRU": "torch has no static INT8 for it: use dynamic INT8",
    "Embedding": "tables are looked up, not multiplied",
}


def batches_of(calibration: Any, technique: str = "static quantization") -> list[torch.Tensor]:
    """Calibration inputs as batches, from an array (N, *input_shape) or a loader of batches: whole numbers (token ids)
    as int64, all else as float32.

    A loader may give tensors, arrays, or tuples whose first element is the input. Raises InputError where there is
    nothing in it, where it gives anything else, and for values that are no numbers.
    """
    import torch

    if calibration is None:
        raise InputError(f"{technique} needs calibration data: give a calibration_loader of representative inputs")
    if isinstance(calibration, (np.ndarray, torch.Tensor)):
        whole = torch.as_tensor(calibration)
        found = list(whole.split(BATCH)) if len(whole) else []
    elif isinstance(calibration, Iterable):
        found = [_batch(b[0] if isinstance(b, (tuple, list)) and len(b) else b, technique) for b in calibration]
    else:
        raise InputError(f"{technique} takes an array or a loader of batches, not {type(calibration).__name__}")
    if not found:
        raise InputError(f"{technique} needs calibration data: the calibration_loader gave no batch")
    found = [batch.to(torch.float32 if batch.is_floating_point() else torch.int64) for batch in found]
    if not all(bool(torch.isfinite(batch).all()) for batch in found):
        raise InputError(f"{technique}: the calibration data hold values that are not finite (NaN or infinity)")
    return found


def _batch(item: Any, technique: str) -> torch.Tensor:
    import torch

    try:
        return torch.as_tensor(item)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{technique} takes batches that are one tensor or array, alone or first in a tuple: "
            f"the calibration_loader gave {type(item).__name__}"
        ) from error


def taken(model: torch.nn.Module, batches: list[torch.Tensor], technique: str) -> list[torch.Tensor]:
    """The batches as the model, in evaluation mode, takes them: whole numbers as such if it can, else as float32.

    Raises InputError where it takes neither.
    """
    whole = [batch for batch in batches if not batch.is_floating_point()]
    if whole and refusal(model, whole[0][:1]) is not None and refusal(model, whole[0][:1].float()) is None:
        batches = [batch.float() for batch in batches]
    for batch in batches:
        if why := refusal(model, batch[:1]):
            raise InputError(
                f"{technique}: the model does not take a batch of shape {tuple(batch.shape)} and type {batch.dtype}: "
                f"{why}"
            )
    return batches


def quantize_static_int8(
    model: torch.nn.Module,
    batches: list[torch.Tensor],
    *,
    per_channel: bool = True,
    observer: Observer = "entropy",
    bias_correction: bool = False,
    reduce_range: bool | None = None,
) -> tuple[torch.nn.Module, tuple[Skipped, ...], tuple[str, ...]]:
    """A copy in static INT8, the layers that stay, and notes.

    `reduce_range` None: 7-bit activations where the CPU has no VNNI. Raises TrialError where torch.fx cannot trace the
    model, or nothing in it can be quantized.
    """
    import torch
    from torch.ao.quantization import quantize_fx

    from primum.models.attention import split_attention

    if reduce_range is None:
        reduce_range = "vnni" not in this_machine().features
    notes = ["activations kept to 7 bits: this CPU has no VNNI and would saturate"] if reduce_range else []
    source, _ = split_attention(copied(model))
    batches = taken(source, batches, "static quantization")
    with known_warnings_silenced(), engine_in_use() as engine, torch.no_grad():
        mapping = _mapping(engine, per_channel, activation_observer(observer, reduce_range))
        last = _keep_output_fine(source, mapping)
        try:
            prepared = quantize_fx.prepare_fx(source, mapping, (batches[0],))
        # Tracing runs the user's own forward function on stand-ins: it raises whatever that raises.
        except Exception as error:
            raise TrialError(f"static INT8 traces the model, and torch.fx cannot: {_first(error)}") from error
        for batch in batches:
            prepared(batch)
        try:
            changed = quantize_fx.convert_fx(prepared).eval()
        # torch's conversion fails on some graphs with whatever it stumbles over.
        except Exception as error:
            raise TrialError(f"static INT8: torch.fx cannot convert this model: {_first(error)}") from error
        if not any("quantized" in type(m).__module__ for m in changed.modules()):
            raise TrialError("static INT8 found no layer in this model that torch runs in INT8")
        if bias_correction:
            reference = split_attention(copied(model))[0]
            notes.append(correct_biases(reference, changed, batches))
    skipped = still_float(changed, _WHY, "torch.fx found no INT8 form of it")
    return changed, tuple(replace(s, why=_LAST) if s.name == last else s for s in skipped), tuple(notes)


def _keep_output_fine(source: torch.nn.Module, mapping: Any) -> str | None:
    """Leave what follows the last layer in FP32, and the last layer's own output; returns that layer's name.

    A linear layer keeps INT8 weights, with the range of its input taken per call. Rounded to 256 levels, scores of
    different patients would tie. Raises TrialError where the model cannot be traced.
    """
    import torch
    from torch.ao.quantization import default_dynamic_qconfig

    graph = trace(source)
    node = next(n for n in graph.graph.nodes if n.op == "output").args[0]
    while isinstance(node, torch.fx.Node) and node.op != "placeholder":
        module = module_at(graph, node)
        if module is not None and list(module.parameters()):
            name = str(node.target)
            mapping.set_module_name(name, default_dynamic_qconfig if type(module) is torch.nn.Linear else None)
            return name
        if module is not None:
            mapping.set_module_name(str(node.target), None)
        elif node.op == "call_function" and node.target in (torch.sigmoid, torch.nn.functional.sigmoid):
            mapping.set_object_type(node.target, None)
        node = node.args[0] if node.args else None
    return None


def _mapping(engine: str, per_channel: bool, activation: Any) -> Any:
    """torch's own mapping for the engine, with our observers; norms and softmax stay in FP32, and so do PReLU and
    transposed convolutions, whose INT8 kernels answer wrongly where channels have ranges of their own.
    """
    import torch
    from torch.ao.quantization import QConfig, get_default_qconfig_mapping, observer

    mapping = get_default_qconfig_mapping(engine)
    usual = mapping.global_qconfig
    weight = usual.weight if per_channel else observer.default_weight_observer
    for kind, found in list(mapping.object_type_qconfigs.items()):
        if found is not None and found.activation == usual.activation:
            mapping.set_object_type(kind, QConfig(activation, weight if found.weight == usual.weight else found.weight))
    mapping.set_global(QConfig(activation, weight))
    nn, functional = torch.nn, torch.nn.functional
    norms = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, functional.layer_norm)
    softmax = (nn.Softmax, functional.softmax, torch.softmax, functional.scaled_dot_product_attention)
    transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    for kind in (*norms, *softmax, *transposed, nn.PReLU, functional.prelu):
        mapping.set_object_type(kind, None)
    return mapping


def _first(error: Exception) -> str:
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _obstacle(config: StaticInt8, machine: Machine) -> str | None:
    return missing_engine()


def _apply(model: torch.nn.Module, config: StaticInt8, context: Context) -> torch.nn.Module:
    batches = batches_of(context.need_calibration("static_int8"))
    changed, skipped, notes = quantize_static_int8(
        model,
        batches,
        per_channel=config.per_channel,
        observer=config.observer,
        bias_correction=config.bias_correction,
    )
    for line in (*notes, *listed(skipped)):
        context.note(line)
    return changed


@technique("static_int8", _apply, reshapes=True, torch_only=True, obstacle=_obstacle, rounds=lambda _: "int8")
class StaticInt8(TechniqueConfig):
    """INT8 weights and activations with calibrated ranges, in torch's own kernels. Runs in torch alone."""

    per_channel: bool = True
    """One scale for each output channel of a weight, else one for the whole weight."""
    observer: Observer = "entropy"
    bias_correction: bool = False
    """Shift biases so that each channel's mean on the calibration data is what it was in FP32."""
