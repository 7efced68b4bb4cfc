"""Quantization-aware training: the network learns with the rounding of INT8 in place (Jacob et al. 2018).

Batch norms are folded first, exactly; then weights are rounded per output channel (symmetric) and activations per
tensor (asymmetric, 8 bits), with straight-through gradients. What is left exports as QuantizeLinear and
DequantizeLinear pairs, so that an FP32 target of ONNX Runtime or OpenVINO runs it in integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from primum.errors import TrialError
from primum.hardware.machine import this_machine
from primum.techniques.context import TrainingData
from primum.techniques.distillation.config import Distillation
from primum.techniques.distillation.objective import taught_by
from primum.techniques.quantization.folding import fold_batch_norm
from primum.techniques.quantization.graph import copied
from primum.techniques.quantization.layers import Skipped, listed
from primum.techniques.quantization.static import BATCH, batches_of, taken
from primum.techniques.registry import Context, technique
from primum.techniques.training import TrainingConfig, check_labels, train

if TYPE_CHECKING:
    import torch

_CALIBRATION = 512
"""Training cases that set the first ranges where no calibration data are given."""


def prepare_qat(
    model: torch.nn.Module,
    batches: list[torch.Tensor],
    *,
    weight_bits: int = 8,
    learned_ranges: bool = False,
    keep: tuple[str, ...] = (),
) -> tuple[torch.nn.Module, tuple[Skipped, ...], tuple[str, ...]]:
    """A copy that rounds as INT8 will, calibrated and ready to be trained; the layers that stay; notes.

    Raises TrialError where no layer can be quantized.
    """
    import torch

    from primum.models.attention import split_attention
    from primum.techniques.quantization.placement import insert, insert_by_layer

    source, notes = split_attention(copied(model))
    batches = taken(source, batches, "quantization-aware training")
    folded, stays = fold_batch_norm(source)
    notes += ((f"{len(folded)} batch norms folded",) if folded else ()) + stays
    try:
        prepared, skipped = insert(source, weight_bits, keep, learned_ranges)
    except TrialError as error:
        prepared, skipped = insert_by_layer(source, weight_bits, keep, learned_ranges)
        notes += (f"{error}; only inputs of layers are rounded, so that some runtimes keep convolutions in FP32",)
    if not _roundings(prepared):
        raise TrialError("quantization-aware training found no convolution or linear layer to round")
    with torch.no_grad():
        for batch in batches:
            prepared(batch)
    for module in _roundings(prepared):
        module.calibrated()
    return prepared, skipped, notes


def finish_qat(prepared: torch.nn.Module) -> torch.nn.Module:
    """Turn what `prepare_qat` gave, in place, into integer weights and fixed ranges for inference and export."""
    from primum.techniques.quantization.graph import set_module

    prepared.eval()
    kinds = {id(module) for module in _roundings(prepared)}
    for name, module in list(prepared.named_modules()):
        if id(module) in kinds:
            set_module(prepared, name, module.finished())
    return prepared


def _roundings(model: torch.nn.Module) -> list[torch.nn.Module]:
    from primum.techniques.quantization.fake import FakeActivation, FakeLayer

    return [m for m in model.modules() if isinstance(m, (FakeActivation, FakeLayer))]


def _calibration(context: Context, data: TrainingData) -> list[torch.Tensor]:
    if context.calibration is not None and len(context.calibration):
        return batches_of(context.calibration)
    import numpy as np

    rows = np.random.default_rng(context.seed).permutation(len(data))[:_CALIBRATION]
    context.note(f"first ranges from {len(rows)} training cases")
    return batches_of(np.asarray(data.inputs[np.sort(rows)], dtype=np.float32))


def _apply(model: torch.nn.Module, config: QuantizationAwareTraining, context: Context) -> torch.nn.Module:
    data, signature = context.need_train("qat"), context.need_signature("qat")
    # Without VNNI pairs of products with 8-bit activations are summed in 16 bits; those of 8-bit weights saturate.
    bits = config.weight_bits if "vnni" in this_machine().features else min(config.weight_bits, 7)
    if bits < config.weight_bits:
        context.note(f"weights kept to {bits} bits: this CPU has no VNNI and would saturate")
    prepared, skipped, notes = prepare_qat(
        model,
        _calibration(context, data),
        weight_bits=bits,
        learned_ranges=config.ranges == "learned",
        keep=config.keep,
    )
    for line in (*notes, *listed(skipped)):
        context.note(line)
    for line in check_labels(data.labels, signature):
        context.note(line)
    teaching = Distillation(alpha=config.alpha, temperature=config.temperature)
    objective = taught_by(context.teacher, signature, teaching, data.labels, context.note)
    train(prepared, objective, data, config, context, name="qat")
    return finish_qat(prepared)


@technique("qat", _apply, trains=True, reshapes=True, rounds=lambda _: "int8")
class QuantizationAwareTraining(TrainingConfig):
    """Fine-tune with rounded weights and activations, to answer as the original does where it can be asked; the result
    holds integer weights and exports as INT8.
    """

    epochs: int = Field(5, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    batch: int = Field(BATCH, ge=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """In 16 bits the rounding itself would be rounded."""
    weight_bits: int = Field(8, ge=2, le=8)
    """Fewer than 8 make a coarser grid; it is stored and run as INT8 all the same. On a CPU without VNNI 7 at most."""
    ranges: Literal["ema", "learned"] = "ema"
    """Ranges of activations: a moving average, or steps learned with the weights (Esser et al. 2020)."""
    keep: tuple[str, ...] = ()
    """Names of layers that stay in FP32."""
    alpha: float = Field(0.9, ge=0, le=1)
    """Weight of the original's answers, 1 - alpha that of the labels; 0: labels alone."""
    temperature: float = Field(4.0, gt=0)
    """Of those answers (Hinton et al. 2015)."""
