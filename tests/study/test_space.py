"""What may be explored: recipes that work, with stable keys, told apart from those of other spaces."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.config import OptimizationConfig, OptimizationLevel
from primum.runtimes.base import Target
from primum.study.planner import LeftOut
from primum.study.recipe import Recipe
from primum.study.search import Search, SearchSpace
from primum.study.space import Choice, Range, Space, space_of
from primum.techniques.registry import make

FULL = Space(("onnxruntime", "openvino"), ("onnxruntime", "openvino"), 1, True, 0.85, 10.0)
PLAIN = replace(FULL, trains=False)


def drawn(space, seed):
    generator = np.random.default_rng(seed)
    taken = {}

    def choose(name):
        setting = space.settings[name]
        if isinstance(setting, Choice):
            taken[name] = setting.values[generator.integers(len(setting.values))]
        else:
            steps = round((setting.high - setting.low) / setting.step)
            # As a sampler gives it: low + k * step, with the error of that sum.
            taken[name] = setting.low + generator.integers(steps + 1) * setting.step
        return taken[name]

    return space.recipe(choose), taken


@given(st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_every_recipe_reads_back_and_tells_the_settings_that_gave_it(seed):
    recipe, taken = drawn(FULL, seed)
    assert Recipe.from_dict(recipe.to_dict()).key == recipe.key
    values = FULL.values_of(recipe)
    assert values.keys() == taken.keys()
    for name, value in values.items():
        assert value == taken[name] or np.isclose(value, taken[name])
    assert FULL.recipe(values.__getitem__) == recipe


def test_the_trials_of_the_bisecting_search_are_of_this_space():
    space = SearchSpace(OptimizationConfig(level=OptimizationLevel.AGGRESSIVE), trained=True, minutes=10.0)
    steps, labels = Search(space, lambda trial: True)._trainings(0.3)
    integer = Target(runtime="openvino", precision="int8", threads=1)
    aware = (make("qat", {"max_minutes": 5.0}),)
    for recipe in (Recipe(integer, steps), Recipe(integer, labels), Recipe(integer, steps + aware), Recipe(integer)):
        assert FULL.values_of(recipe) is not None, str(recipe)
    assert FULL.values_of(Recipe(integer, steps))["ratio"] == 0.3


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(Target(runtime="openvino", precision="int8", threads=1), (make("prune_channels", {"ratio": 0.3}),)),
        Recipe(Target(runtime="openvino", precision="int8", threads=1, exclude=("head",))),
        Recipe(Target(runtime="openvino", precision="int8", threads=2)),
        Recipe(Target(runtime="onnxruntime", precision="fp16", threads=1)),
        Recipe(Target(runtime="torch", threads=1)),
        Recipe(
            Target(runtime="openvino", threads=1),
            (make("prune_channels", {"ratio": 0.3}), make("distill", {"max_minutes": 10.0, "epochs": 75})),
            seed=1,
        ),
        Recipe(
            Target(runtime="openvino", threads=1),
            (make("prune_channels", {"ratio": 0.9}), make("distill", {"max_minutes": 10.0, "epochs": 75})),
        ),
    ],
    ids=str,
)
def test_what_is_not_of_this_space_is_not_mistaken_for_it(recipe):
    assert FULL.values_of(recipe) is None


def test_a_small_space_is_listed_whole_and_a_large_one_is_not():
    assert FULL.recipes() is None
    listed = PLAIN.recipes()
    # FP32 in both runtimes; ONNX Runtime's four ranges; OpenVINO's four, with bias correction and without.
    assert len(listed) == 2 + 4 + 8 and len({r.key for r in listed}) == 14
    assert all(drawn(PLAIN, seed)[0] in listed for seed in range(40))


def test_the_level_limits_the_share_and_ratios_have_two_digits():
    small = replace(FULL, most=0.2)
    pruned = [
        r
        for seed in range(60)
        if (r := drawn(small, seed)[0]).techniques and r.techniques[0] != make("qat", {"max_minutes": 5.0})
    ]
    ratios = [r.techniques[0].ratio for r in pruned]
    assert ratios and max(ratios) <= 0.2 and all(round(r, 2) == r for r in ratios)
    assert isinstance(small.settings["ratio"], Range)


def trial_of(make_trial, recipe, **changes):
    lost = {} if recipe.exact else {"lost": 0}
    return replace(make_trial(recipe.key, 2.0, **lost), recipe=str(recipe), recipe_data=recipe.to_dict(), **changes)


def test_only_what_worked_is_explored(make_trial):
    lossless = [Recipe(Target(runtime=n, threads=1)) for n in ("torch", "onnxruntime", "openvino")]
    integer = Recipe(Target(runtime="openvino", precision="int8", threads=1))
    trials = [trial_of(make_trial, r) for r in (*lossless, integer)]
    space = space_of(trials, 1, True, 0.85, 10.0)
    assert space.runtimes == ("onnxruntime", "openvino") and space.integers == ("openvino",)
    assert "INT8 did not work" in space.obstacle(Recipe(Target(runtime="onnxruntime", precision="int8", threads=1)))
    assert space.obstacle(integer) is None
    alone = space_of(trials[:1], 1, True, 0.85, 10.0)
    assert isinstance(alone, LeftOut) and "no graph runtime" in alone.why
    untrained = space_of(trials[:3], 1, False, 0.85, 10.0)
    assert isinstance(untrained, LeftOut) and "nothing can vary" in untrained.why


def test_what_is_quantized_names_the_network_before_it():
    steps = (make("prune_channels", {"ratio": 0.3}), make("distill", {"max_minutes": 10.0, "epochs": 75}))
    integer, aware = Target(runtime="openvino", precision="int8", threads=1), (make("qat", {"max_minutes": 5.0}),)
    for recipe in (Recipe(integer, steps), Recipe(integer, steps + aware)):
        stages = FULL.float_stages(recipe)
        assert {s.techniques for s in stages} == {steps} and {s.target.precision for s in stages} == {"fp32"}
    assert FULL.float_stages(Recipe(integer, aware)) == () == FULL.float_stages(Recipe(integer))
