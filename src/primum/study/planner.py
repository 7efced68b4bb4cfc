"""Which recipes are worth trying, by level, machine and measured facts; and why each other one is left out."""

from __future__ import annotations

from dataclasses import dataclass

from primum.config import OptimizationConfig, OptimizationLevel
from primum.hardware.machine import Machine
from primum.runtimes.base import Target, get_runtime
from primum.runtimes.facts import FOUR_BITS, GraphFacts, infeasible
from primum.runtimes.macs import UNKNOWN, Macs
from primum.study.recipe import Recipe
from primum.techniques.quantization.strategy import SMALL_MACS

SMALL_MS = 0.2
"""Where multiply-accumulates cannot be counted: a call so short is mostly the call itself."""
_AGGRESSIVE = OptimizationLevel.AGGRESSIVE
SCRIPTED = "it is packaged as weights for a Python module, and the model came as TorchScript"


@dataclass(frozen=True)
class ModelFacts:
    """What the planner knows of the original: `baseline_ms` is its measured median at batch 1."""

    from_torch: bool
    weight_bytes: int
    image_input: bool
    baseline_ms: float
    graph: GraphFacts | None = None
    """Of the ONNX export; None where there is none."""
    macs: Macs = UNKNOWN
    """Of the ONNX export, for one case."""
    scripted: bool = False
    """It came as TorchScript."""

    @property
    def mostly_products(self) -> bool:
        """Whether most of the weights are of matrix products."""
        return self.graph is not None and self.graph.product_bytes > self.weight_bytes / 2


@dataclass(frozen=True)
class Proposal:
    """A recipe and why it is tried."""

    recipe: Recipe
    why: str


@dataclass(frozen=True)
class LeftOut:
    """Something not tried, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Plan:
    """Proposals in the order they are tried, and what is left out."""

    proposals: tuple[Proposal, ...]
    left_out: tuple[LeftOut, ...]


def baseline_recipe(from_torch: bool, threads: int | None) -> Recipe:
    """The original as it stands: torch eager FP32, or ONNX Runtime FP32 for an .onnx model."""
    return Recipe(Target(runtime="torch" if from_torch else "onnxruntime", threads=threads))


def plan(config: OptimizationConfig, facts: ModelFacts, machine: Machine) -> Plan:
    """Propose recipes. Lossless ones come first, so that a study ended early still has something to deliver.

    Raises InputError where a runtime that was asked for does not exist.
    """
    for name in config.runtimes:
        get_runtime(name)
    proposals: list[Proposal] = []
    left_out: list[LeftOut] = []

    def consider(why: str, runtime: str, precision: str = "fp32", channels_last: bool = False) -> None:
        target = Target(runtime=runtime, precision=precision, channels_last=channels_last, threads=config.threads)
        recipe = Recipe(target)
        reason = _obstacle(target, config, facts, machine)
        if reason:
            left_out.append(LeftOut(str(recipe), reason))
        elif recipe != baseline_recipe(facts.from_torch, config.threads):
            proposals.append(Proposal(recipe, why))

    consider("lossless: the graph in ONNX Runtime", "onnxruntime")
    consider("lossless: the graph in OpenVINO", "openvino")
    consider("INT8 weights and activations, ranges calibrated by NNCF", "openvino", "int8")
    consider("INT8 weights and activations, QDQ per channel U8S8", "onnxruntime", "int8")
    consider("this CPU multiplies BF16 in hardware", "openvino", "bf16")
    consider("half the file, arithmetic in FP32", "onnxruntime", "fp16")
    consider("lossless: memory layout that convolutions like", "torch", channels_last=True)
    consider("lossless: traced and frozen", "torchscript")
    consider("this CPU multiplies BF16 in hardware", "torch", "bf16", channels_last=facts.image_input)
    consider("lossless: compiled kernels", "inductor", channels_last=facts.image_input)
    consider("INT8 weights, activation ranges per input", "onnxruntime", "int8-dynamic")
    consider("compiled kernels in BF16", "inductor", "bf16", channels_last=facts.image_input)
    if facts.mostly_products:
        for runtime in ("openvino", "onnxruntime"):
            consider("INT8 weights of matrix products, arithmetic in floats", runtime, "int8-weights")
    if config.quantization.weight_bits == 4 or (config.level is _AGGRESSIVE and facts.mostly_products):
        for runtime in ("openvino", "onnxruntime"):
            consider("4-bit weights of matrix products", runtime, "int4-weights")
    return Plan(tuple(proposals), tuple(left_out))


def _obstacle(target: Target, config: OptimizationConfig, facts: ModelFacts, machine: Machine) -> str | None:
    """Why a target is not tried, or None."""
    if config.runtimes and target.runtime not in config.runtimes:
        return f"not among the runtimes asked for ({', '.join(config.runtimes)})"
    runtime = get_runtime(target.runtime)
    lossy = target.precision != "fp32"
    if why := runtime.missing():
        return f"not installed: {why}"
    if lossy and config.level is OptimizationLevel.MINIMAL:
        return "MINIMAL tries lossless runtimes only"
    if not facts.from_torch and not runtime.needs_onnx:
        return "the model came as .onnx"
    if facts.scripted and runtime.keeps_weights_only:
        return SCRIPTED
    if target.channels_last and not facts.image_input:
        return "the input has no channels to lay out"
    if target.precision == "bf16" and "bf16" not in machine.features:
        return "this CPU has no BF16 arithmetic: it would be slower"
    if runtime.needs_onnx and facts.graph is not None and (why := infeasible(target, facts.graph)):
        return why
    if target.precision in FOUR_BITS and facts.graph is not None and not facts.mostly_products:
        share = facts.graph.product_bytes / max(facts.weight_bytes, 1)
        return f"4 bits are for matrix products alone, which hold {share:.0%} of the weights"
    convolves = facts.graph is not None and facts.graph.convolutions > 0
    if target.precision == "int8-dynamic" and convolves and not facts.mostly_products:
        return "convolutions are slower with ranges taken from each input"
    # Who wants a small file gets one, however little there is to compute.
    return _too_small(facts) if lossy and config.objective == "latency" else None


def _too_small(facts: ModelFacts) -> str | None:
    """Why lower precision could not save time, or None. Bytes of weights do not tell: few may be used many times."""
    macs = facts.macs
    if macs.least >= SMALL_MACS:
        return None
    if macs.exact:
        return (
            f"too small to gain: {macs.least:,} multiply-accumulates a case, {facts.baseline_ms:.3f} ms a call; the "
            f"networks below {SMALL_MACS:,} that were measured ran slower in INT8, so this one is not tried"
        )
    if facts.baseline_ms < SMALL_MS:
        return (
            f"too small to gain: {facts.baseline_ms:.3f} ms a call, below {SMALL_MS} ms, which is mostly the call "
            "itself; its multiply-accumulates could not be counted"
        )
    return None
