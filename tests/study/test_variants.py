"""Which further settings are tried, of which leaders."""

from dataclasses import replace

from primum.config import OptimizationConfig, OptimizationLevel
from primum.hardware.machine import this_machine
from primum.runtimes.base import Target
from primum.study.recipe import Recipe
from primum.study.variants import variants

BF16 = replace(this_machine(), features=("bf16",))
PLAIN = replace(this_machine(), features=())


def of(make_trial, key, speed, target, lost=None):
    recipe = Recipe(target)
    return replace(make_trial(key, speed, lost=lost), recipe=str(recipe), recipe_data=recipe.to_dict())


def tried(trials, machine=BF16, level=OptimizationLevel.BALANCED, transformer=True):
    return [str(p.recipe) for p in variants(trials, OptimizationConfig(level=level), machine, transformer)]


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
    ]
    assert tried(trials) == wanted
    assert tried(trials, PLAIN) == wanted[:1], "without BF16 in hardware there is nothing beside INT8"
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
