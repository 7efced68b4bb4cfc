"""Settings of a runtime that are worth a trial of their own only where that runtime already leads."""

from __future__ import annotations

from collections.abc import Sequence

from primum.config import OptimizationConfig, OptimizationLevel
from primum.hardware.machine import Machine
from primum.runtimes.base import Target
from primum.study.planner import Proposal
from primum.study.recipe import Recipe, recipe_of
from primum.study.trial import Trial
from primum.techniques.registry import make
from primum.validation.verdict import Outcome

_GOOD = (Outcome.NON_INFERIOR, Outcome.INCONCLUSIVE)
_LEADS = 0.6
"""A runtime leads, for a setting of its own, where it is at least so much as fast as the fastest."""


def variants(
    trials: Sequence[Trial],
    config: OptimizationConfig,
    machine: Machine,
    transformer: bool,
    *,
    depthwise: bool = False,
    changeable: bool = False,
) -> list[Proposal]:
    """Further forms of what leads among the planned trials (the original first).

    `depthwise`: the network has such convolutions; `changeable`: techniques can change it.
    """
    plain = [t for t in trials if t.guard is None and not t.recipe_data["techniques"]]
    leading = [t for t in plain if t.ok and t.outcome in _GOOD]
    found = _openvino(leading, config, machine, transformer)
    if transformer:
        found += _fused(leading, config)
    if config.level is not OptimizationLevel.MINIMAL:
        found += _compiled(leading)
        found += _equalized(plain) if depthwise and changeable else []
    return found


def _openvino(
    leading: Sequence[Trial], config: OptimizationConfig, machine: Machine, transformer: bool
) -> list[Proposal]:
    """A fixed batch saves what a free batch axis costs a call. BF16 beside INT8 saves what INT8 leaves in floats, which
    is much in a transformer alone: products without stored weights. There, too, ranges around zero save normalizations
    a step. Of the fastest OpenVINO candidate, and of its fastest INT8 one.
    """
    graphs = [t for t in leading if _target(t).runtime == "openvino" and not _target(t).fixed_batch]
    if not graphs:
        return []
    fastest = _target(max(graphs, key=lambda t: t.speed))
    found = [Proposal(Recipe(_fixed(fastest)), "the fastest so far, for one case a call")]
    integer = [t for t in graphs if _target(t).precision == "int8" and _target(t).floats == "fp32"]
    if not transformer or not integer or config.level is OptimizationLevel.MINIMAL:
        return found
    best = _target(max(integer, key=lambda t: t.speed))
    if "bf16" in machine.features:
        best = best.model_copy(update={"floats": "bf16"})
        found.append(Proposal(Recipe(best), "INT8, and BF16 in what INT8 leaves in floats"))
        found.append(Proposal(Recipe(_fixed(best)), "INT8 beside BF16, for one case a call"))
    around = _fixed(best).model_copy(update={"symmetric": True})
    found.append(Proposal(Recipe(around), "INT8 with ranges around zero, for one case a call"))
    return found


def _fused(leading: Sequence[Trial], config: OptimizationConfig) -> list[Proposal]:
    """Attention as single operators, in FP32: INT8 rounds products, which a single operator has none of."""
    lossless = [t for t in leading if t.lossless]
    graphs = [t for t in lossless if _target(t).runtime == "onnxruntime" and not _target(t).fused_attention]
    if not graphs:
        return []
    best = max(graphs, key=lambda t: t.speed)
    if best.speed < _LEADS * max(t.speed for t in lossless) and "onnxruntime" not in config.deliver:
        return []
    fused = _target(best).model_copy(update={"fused_attention": True})
    return [Proposal(Recipe(fused), "lossless: attention blocks as single operators")]


def _compiled(leading: Sequence[Trial]) -> list[Proposal]:
    """Kernels chosen by measurement, where compiled ones are the fastest already. reduce-overhead is of GPUs alone."""
    if not leading:
        return []
    best = _target(max(leading, key=lambda t: t.speed))
    if best.runtime != "inductor" or best.mode != "default":
        return []
    tuned = best.model_copy(update={"mode": "max-autotune"})
    return [Proposal(Recipe(tuned), "compiled kernels are the fastest so far: chosen among more of them")]


def _equalized(plain: Sequence[Trial]) -> list[Proposal]:
    """The fastest static INT8 that harms, or follows the original too little, after its layers were rescaled."""
    integer = [t for t in plain if _target(t).precision == "int8" and not _target(t).fixed_batch]
    harmful = [t for t in integer if (t.ok and t.outcome not in _GOOD) or (t.parity and not t.parity.passed)]
    if not harmful or any(t.ok and t.outcome in _GOOD for t in integer):
        return []
    target = _target(max(harmful, key=lambda t: t.speed))
    why = "depthwise convolutions, whose channels differ in range: rescaled, losslessly, before INT8"
    return [Proposal(Recipe(target, (make("equalize", {}),)), why)]


def _fixed(target: Target) -> Target:
    return target.model_copy(update={"fixed_batch": True})


def _target(trial: Trial) -> Target:
    return recipe_of(trial).target
