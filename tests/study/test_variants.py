"""Which further settings are tried, of which leaders."""

from dataclasses import replace

from primum.config import OptimizationConfig, OptimizationLevel
from primum.hardware.machine import this_machine
from primum.runtimes.base import Target
from primum.study.recipe import Recipe
from primum.study.trial import Parity, Status
from primum.study.variants import variants

BF16 = replace(this_machine(), features=("bf16",))
PLAIN = replace(this_machine(), features=())


def of(make_trial, key, speed, target, lost=None):
    recipe = Recipe(target)
    return replace(make_trial(key, speed, lost=lost), recipe=str(recipe), recipe_data=recipe.to_dict())


def tried(trials, machine=BF16, level=OptimizationLevel.BALANCED, transformer=True, deliver=(), **more):
    config = OptimizationConfig(level=level, deliver=deliver)
    return [str(p.recipe) for p in variants(trials, config, machine, transformer, **more)]


def test_the_fastest_openvino_candidate_is_tried_with_a_fixed_batch_and_int8_with_bf16_beside(make_trial):
    trials = [
        of(make_trial, "original", 1.0, Target(runtime="torch")),
        of(make_trial, "exact", 2.0, Target(runtime="openvino")),
        of(make_trial, "int8", 5.0, Target(runtime="openvino", precision="int8"), lost=0),
    ]
    wanted = [
        "openvino[int8, fixed_batch]",
        "openvino[int8, floats=bf16]",
        "openvino[int8, floats=bf16, fixed_batch]",
        "openvino[int8, floats=bf16, fixed_batch, symmetric]",
    ]
    assert tried(trials) == wanted
    without = [*wanted[:1], "openvino[int8, fixed_batch, symmetric]"]
    assert tried(trials, PLAIN) == without, "without BF16 in hardware there is nothing beside INT8"
    assert tried(trials, transformer=False) == wanted[:1], "INT8 leaves next to nothing in floats"
    assert tried(trials[:2]) == ["openvino[fp32, fixed_batch]"]
    assert tried(trials[:1]) == []
    assert tried(trials, level=OptimizationLevel.MINIMAL) == wanted[:1]


def test_what_harms_or_was_composed_has_no_variants(make_trial):
    harmful = of(make_trial, "int8", 50.0, Target(runtime="openvino", precision="int8"), lost=60)
    exact = of(make_trial, "exact", 2.0, Target(runtime="openvino"))
    assert tried([exact, harmful]) == ["openvino[fp32, fixed_batch]"]
    pruned = replace(exact, recipe_data={**exact.recipe_data, "techniques": [{"prune_channels": {"ratio": 0.5}}]})
    assert tried([pruned]) == []


def test_attention_is_fused_where_onnx_runtime_leads_or_is_asked_for(make_trial):
    def trials(speed):
        return [
            of(make_trial, "original", 1.0, Target(runtime="torch")),
            of(make_trial, "exact", speed, Target(runtime="onnxruntime")),
            of(make_trial, "other", 4.0, Target(runtime="torchscript")),
            of(make_trial, "int8", 9.0, Target(runtime="onnxruntime", precision="int8"), lost=0),
        ]

    fused = ["onnxruntime[fp32, fused_attention]"]
    assert tried(trials(3.0)) == tried(trials(3.0), level=OptimizationLevel.MINIMAL) == fused
    assert tried(trials(3.0), transformer=False) == [], "there is nothing to fuse"
    assert tried(trials(1.5)) == [], "another runtime is far ahead"
    assert tried(trials(1.5), deliver=("onnxruntime",)) == fused


def test_compiled_kernels_are_tuned_where_they_are_the_fastest(make_trial):
    original = of(make_trial, "original", 1.0, Target(runtime="torch"))
    compiled = of(make_trial, "compiled", 2.0, Target(runtime="inductor", channels_last=True))
    other = of(make_trial, "other", 3.0, Target(runtime="torchscript"))
    wanted = ["inductor[fp32, channels_last, mode=max-autotune]"]
    assert tried([original, compiled], transformer=False) == wanted
    assert tried([original, compiled, other], transformer=False) == []
    assert tried([original, compiled], transformer=False, level=OptimizationLevel.MINIMAL) == []


def test_depthwise_networks_are_equalized_where_int8_harms(make_trial):
    exact = of(make_trial, "exact", 2.0, Target(runtime="onnxruntime"))
    int8 = Target(runtime="onnxruntime", precision="int8")
    harmful, good = of(make_trial, "int8", 5.0, int8, lost=60), of(make_trial, "int8", 5.0, int8, lost=0)
    depthwise = {"transformer": False, "depthwise": True, "changeable": True}
    wanted = ["equalize(rounds=20) -> onnxruntime[int8]"]
    assert tried([exact, harmful], **depthwise) == wanted
    broken = replace(harmful, status=Status.FAILED, verdict=None, timings=None, parity=Parity(9.0, 0.9, 0.6, False))
    assert tried([exact, broken], **depthwise) == wanted
    assert tried([exact, good], **depthwise) == []
    assert tried([exact, harmful], transformer=False, depthwise=False, changeable=True) == []
    assert tried([exact, harmful], transformer=False, depthwise=True) == [], "nothing can change this network"
    assert tried([exact, harmful], **depthwise, level=OptimizationLevel.MINIMAL) == []
