"""Which quantization suits a model, a machine and a level, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from primum.config import QuantizationConfig, QuantizationScheme
from primum.hardware.machine import Machine, installed
from primum.level import OptimizationLevel
from primum.techniques.quantization.layers import weighted_layers

if TYPE_CHECKING:
    import torch

SMALL_BYTES = 200_000
"""Below this no memory is saved that anyone would notice."""
SMALL_MACS = 200_000
"""Measured in ONNX Runtime against FP32, one case a call: the better of static and dynamic INT8 ran 0.5 to 0.7 times as
fast in networks of 4,000 to 82,000 multiply-accumulates (tabular and convolutional), 1.5 to 4.3 times as fast in those
of 314,000 to 13 million (tabular, convolutional, recurrent)."""
_MOST = 0.5
_TIGHT = 0.5
"""Share of the memory that FP32 weights may take before 4 bits are chosen unasked."""


@dataclass(frozen=True)
class WeightShares:
    """Share of all weights in each kind of layer, in 0..1, and the bytes of all parameters."""

    linear: float
    recurrent: float
    convolution: float
    other: float
    parameter_bytes: int


@dataclass(frozen=True)
class Strategy:
    """What is done, and why: none, dynamic_int8, static_int8, weight_only_int8, weight_only_int4, weight_only_nf4."""

    name: str
    why: str
    named: bool = False
    """The configuration names it: no other takes its place."""


def weight_shares(model: torch.nn.Module) -> WeightShares:
    """Where the model's weights are."""
    from torch import nn

    count = dict.fromkeys(("linear", "recurrent", "convolution", "other"), 0)
    for _, module in weighted_layers(model):
        size = sum(p.numel() for p in module.parameters(recurse=False))
        if isinstance(module, (nn.Linear, nn.MultiheadAttention)):
            count["linear"] += size
        elif isinstance(module, (nn.LSTM, nn.GRU)):
            count["recurrent"] += size
        elif isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            count["convolution"] += size
        else:
            count["other"] += size
    total = max(sum(count.values()), 1)
    held = sum(p.numel() * p.element_size() for p in model.parameters())
    return WeightShares(**{kind: n / total for kind, n in count.items()}, parameter_bytes=held)


def choose(
    model: torch.nn.Module,
    config: QuantizationConfig,
    level: OptimizationLevel | None,
    machine: Machine,
    calibrated: bool,
    macs: int | None = None,
) -> Strategy:
    """The strategy that the configuration names, else the one that fits weights, machine and level best.

    `calibrated`: there are calibration data. 4-bit weights need the level aggressive, or no level at all. `macs`:
    multiply-accumulates of one case, None where they are not known.
    """
    shares, kind = weight_shares(model), config.quantization_type
    four = config.weight_bits == 4
    note = ""
    if four and level not in (None, OptimizationLevel.AGGRESSIVE):
        four, note = False, f"INT8 in place of 4 bits (level {level}); "
    if isinstance(kind, QuantizationScheme):
        name = f"weight_only_int{4 if four else 8}" if kind is QuantizationScheme.WEIGHT_ONLY else f"{kind.value}_int8"
        return Strategy(name, f"{note}the configuration names {kind.value}", named=True)
    if level is OptimizationLevel.MINIMAL:
        return Strategy("none", "level minimal keeps every weight as it is")
    if why := _too_small(shares, macs):
        return Strategy("none", why)
    tight = shares.parameter_bytes > _TIGHT * machine.memory_bytes
    if tight and not four and level in (None, OptimizationLevel.AGGRESSIVE) and shares.linear >= _MOST:
        share = shares.parameter_bytes / machine.memory_bytes
        return Strategy("weight_only_int4", f"the weights take {share:.0%} of this machine's memory: 4 bits")
    if four:
        return _four_bits(config, shares, machine, calibrated)
    return _eight_bits(shares, machine, calibrated, note)


def _too_small(shares: WeightShares, macs: int | None) -> str | None:
    """Why neither memory nor time would be saved, or None. Few weights may be used many times (a U-Net)."""
    if shares.parameter_bytes >= SMALL_BYTES or (macs is not None and macs >= SMALL_MACS):
        return None
    small = f"{shares.parameter_bytes / 1e3:.0f} kB of weights"
    if macs is None:
        return f"{small}: too small for a saving to matter; a calibration_loader would tell whether they are used often"
    return f"{small} and {macs:,} multiply-accumulates a case: too small for a saving to matter"


def _four_bits(config: QuantizationConfig, shares: WeightShares, machine: Machine, calibrated: bool) -> Strategy:
    """4-bit weights where the linear layers hold enough of them to be worth it."""
    linear = f"{shares.linear:.0%} of the weights are in Linear layers"
    if shares.linear < _MOST:
        found = _eight_bits(shares, machine, calibrated, "")
        return Strategy(
            found.name, f"4-bit weights are asked for, but only {linear}, which alone have that form; {found.why}"
        )
    if config.load_in_4bit and installed("bitsandbytes"):
        return Strategy("weight_only_nf4", f"load_in_4bit, and {linear}")
    return Strategy("weight_only_int4", f"4-bit weights are asked for, and {linear}")


def _eight_bits(shares: WeightShares, machine: Machine, calibrated: bool, note: str) -> Strategy:
    fast = "this CPU multiplies INT8 in hardware" if "vnni" in machine.features else "this CPU has no VNNI: small gain"
    matrices = shares.linear + shares.recurrent
    if shares.convolution == matrices == 0:
        return Strategy("none", f"{note}the model has no Linear, LSTM, GRU or convolution layer")
    convolved = f"{note}{shares.convolution:.0%} of the weights are convolutions"
    if shares.convolution >= matrices and calibrated:
        return Strategy("static_int8", f"{convolved}; ranges from calibration data; {fast}")
    if matrices == 0:
        return Strategy("none", f"{convolved}, whose ranges need calibration data: give a calibration_loader")
    if shares.convolution >= matrices:
        return Strategy(
            "dynamic_int8",
            f"{convolved}, which stay in FP32 without calibration data: give a calibration_loader to quantize them too",
        )
    where = f"{shares.linear:.0%} of the weights are linear and {shares.recurrent:.0%} recurrent"
    return Strategy("dynamic_int8", f"{note}{where}; their ranges per input need no calibration; {fast}")
