"""Recipes are data."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from primum.errors import InputError
from primum.hardware.machine import this_machine
from primum.models.signature import Signature
from primum.runtimes.base import NAMES, Target, get_runtime
from primum.study.recipe import Recipe, read_recipes, write_recipes
from primum.techniques.network import network_facts
from primum.techniques.registry import make

targets = st.sampled_from(NAMES).flatmap(
    lambda runtime: st.builds(
        Target,
        runtime=st.just(runtime),
        precision=st.sampled_from(get_runtime(runtime).precisions),
        channels_last=st.booleans(),
        threads=st.none() | st.integers(1, 64),
        spinning=st.booleans(),
    )
)
recipes = st.builds(
    Recipe,
    targets,
    st.lists(st.integers(2, 8).map(lambda b: make("round_weights", {"bits": b})), max_size=2).map(tuple),
)


@given(st.lists(recipes, min_size=1, max_size=4))
def test_yaml_gives_back_equal_recipes_with_equal_keys(tmp_path_factory, listed):
    path = tmp_path_factory.mktemp("recipes") / "recipes.yaml"
    path.write_text(write_recipes(tuple(listed)))
    found = read_recipes(path)
    assert found == tuple(listed) and [r.key for r in found] == [r.key for r in listed]


@given(recipes, recipes)
def test_keys_and_lines_tell_recipes_apart(first, second):
    assert (first == second) == (first.key == second.key) == (str(first) == str(second))


def test_it_prints_as_one_line():
    recipe = Recipe(Target(runtime="openvino", precision="int8", threads=2), (make("round_weights", {"bits": 3}),))
    assert str(recipe) == "round_weights(bits=3) -> openvino[int8, threads=2]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("target: {runtime: openvino, precision: int4}", "not int4"),
        ("target: {runtime: tpu}", "no runtime 'tpu'"),
        ("target: {runtime: torch, fast: yes}", "fast"),
        ("target: {runtime: onxruntime}", "no runtime 'onxruntime'.*did you mean onnxruntime?"),
        ("target: {runtime: torch, precison: fp32}", "precison.*did you mean precision?"),
        ("targt: {runtime: torch}", "not 'targt'; did you mean target?"),
        ("target: {runtime: torch}\ntechnique: []", "not 'technique'; did you mean techniques?"),
        ("target: {runtime: torch}\ntechniques: [{prune_chanels: {}}]", "did you mean prune_channels?"),
        ("target: {runtime: torch}\ntechniques: [{round_weights: {bit: 4}}]", "bit: .*did you mean bits?"),
        ("techniques: []", "target and techniques"),
        ("target: {runtime: torch}\ntechniques: [shrink]", "one name"),
        ("target: {runtime: torch}\ntechniques: [{shrink: {}}]", "no technique 'shrink'"),
        ("target: {runtime: torch}\ntechniques: [{round_weights: {bits: 99}}]", "bits"),
        ("target: [", "not valid YAML"),
    ],
)
def test_bad_recipes_are_refused_with_the_reason(tmp_path, text, message):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_recipes(tmp_path / "r.yaml")


def test_what_means_nothing_for_a_model_is_known_beforehand():
    recipe = Recipe(Target(runtime="onnxruntime"), (make("distill", {"method": "dkd"}),))
    two = Signature(input_shape=(3,), outputs=2, classes=("a", "b"), activation="softmax")
    assert str(recipe.obstacle(this_machine(), two)).startswith("distill: method dkd needs one of three classes")
    assert recipe.obstacle(this_machine()) is None


NARROW, WIDE, CONVOLUTIONS = nn.Linear(128, 1), nn.Linear(64, 32), nn.Conv2d(1, 8, 3)
ROWS = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)


def foretold(network: nn.Module, *steps: tuple[str, dict[str, object]]) -> str | None:
    recipe = Recipe(Target(runtime="torchscript"), tuple(make(name, settings) for name, settings in steps))
    return recipe.obstacle(this_machine(), None, network_facts(nn.Sequential(network)))


INT4, DYNAMIC = ("weight_only", {"dtype": "int4"}), ("dynamic_int8", {})
DISTILLED, PRUNED, EQUALIZED = ("distill", {}), ("prune_channels", {"ratio": 0.3}), ("equalize", {})


@pytest.mark.parametrize(
    ("network", "steps", "why"),
    [
        (CONVOLUTIONS, [INT4], r"weight_only: the network has no Linear layer \(Conv2d\)"),
        (CONVOLUTIONS, [DYNAMIC], r"dynamic_int8: the network has no Linear or LSTM or GRU layer \(Conv2d\)"),
        (CONVOLUTIONS, [DISTILLED, INT4], "weight_only: the network has no Linear"),
        (CONVOLUTIONS, [EQUALIZED, DYNAMIC], "dynamic_int8: the network has no"),
        (NARROW, [INT4], "weight_only: no Linear layer fits: int4 needs inputs in groups of 32 and outputs in groups"),
    ],
)
def test_a_technique_with_nothing_to_change_is_known_before_any_stage_runs(network, steps, why):
    assert re.match(why, str(foretold(network, *steps)))


@pytest.mark.parametrize(
    ("network", "steps"),
    [
        (WIDE, [INT4]),
        (NARROW, [DYNAMIC]),
        (nn.GRU(8, 8), [DYNAMIC]),
        (ROWS, [INT4]),
        (NARROW, [PRUNED, INT4]),
        (CONVOLUTIONS, [("custom_quantization", {"manager": "own_quantizer:Halves"}), DYNAMIC]),
    ],
)
def test_what_may_still_find_layers_is_tried(network, steps, monkeypatch):
    monkeypatch.setattr("primum.techniques.quantization.custom.load_manager", lambda *_: None)
    assert "layer" not in str(foretold(network, *steps))
