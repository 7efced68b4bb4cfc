"""Mixed precision: where one layer ruins INT8, it alone keeps FP32 and the rest is proven; all that ran is told."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made import trial_maker
from nets import build
from safetensors.torch import load_file, save_file
from studies import config, run

import primum
from primum.runtimes.base import Target
from primum.study.mixed import MixedProposal
from primum.study.mixing import Mixing
from primum.study.recipe import Recipe
from primum.techniques.rounding import RoundWeights
from primum.workflows.mixed import _MIXING, Mixer

FRAGILE = "features.6"
SPREAD = 2000.0


@pytest.fixture(scope="module")
def fragile(workshop: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory):
    """The same function, written so that one channel's range leaves no level to the others."""
    state = load_file(workshop.weights)
    for name in ("features.4.weight", "features.4.bias"):
        state[name][0] *= SPREAD
    state["features.6.weight"][:, 0] /= SPREAD
    before, after = build(), build()
    before.load_state_dict(load_file(workshop.weights))
    after.load_state_dict(state)
    x = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(after(x), before(x), rtol=1e-3, atol=1e-3)
    path = tmp_path_factory.mktemp("fragile") / "weights.safetensors"
    save_file(state, path)
    return SimpleNamespace(**{**vars(workshop), "weights": path})


@pytest.mark.timeout(900)
def test_the_one_layer_that_ruins_int8_keeps_floats(fragile, tmp_path, monkeypatch):
    monkeypatch.setattr("primum.study.select._GAIN", 0.0)
    result = run(fragile, tmp_path / "out", config=config(runtimes=("onnxruntime",))).result
    whole = next(t for t in result.trials if t.recipe == "onnxruntime[int8, threads=1]")
    mixed = [t for t in result.trials if FRAGILE in t.recipe_data["target"].get("exclude", ())]
    assert not whole.ok or whole.outcome == "INFERIOR" or whole.verdict.agreement.flips > 0
    assert mixed, [t.recipe for t in result.trials]
    saved = [t for t in mixed if t.ok]
    assert saved and min(t.verdict.agreement.flips for t in saved) <= 12
    assert any("take away" in t.why or "worst cases" in t.why for t in saved)
    page = (tmp_path / "out" / "report.html").read_text()
    assert FRAGILE in page
    with primum.load(tmp_path / "out" / "artifact") as predictor:
        assert predictor is not None


INT8 = Target(runtime="onnxruntime", precision="int8", threads=1)
PROPOSED = (("6", "0"), ("6", "0", "2"))


def without(names: tuple[str, ...]) -> Target:
    return INT8.model_copy(update={"exclude": names})


def mixer(hold: tuple[set[str], ...] = (), known: tuple[Recipe, ...] = ()) -> SimpleNamespace:
    """Mixes a network of four layers without building it: `hold` are the sets of layers whose exclusion holds."""
    make, said = trial_maker(), []

    def trial(recipe: Recipe, lost: int = 9):
        made = make(recipe.key, 3.9, lost=lost)
        return replace(made, recipe=str(recipe), recipe_data=recipe.to_dict())

    def attempt(proposal):
        said.append(set(proposal.recipe.target.exclude))
        return trial(proposal.recipe, lost=1)

    def holds(item):
        return item.key == "original" or set(item.recipe_data["target"].get("exclude", ())) in hold

    proposals = tuple(MixedProposal(without(names), "as predicted", 0.1, 1.0) for names in PROPOSED)
    mixing = _MIXING.dump_python(Mixing(proposals, ("0", "2", "4", "6")), mode="json")
    runner = SimpleNamespace(
        store=SimpleNamespace(record=lambda _: mixing), baseline_key="original", scores=lambda *_: np.zeros((600, 1))
    )
    left_out: list = []
    eager = replace(make("original", 1.0), recipe_data=Recipe(Target(runtime="torch")).to_dict())
    given = [eager, trial(Recipe(INT8)), *map(trial, known)]
    found = Mixer(runner, attempt, holds, left_out.append).run(given)
    return SimpleNamespace(found=found, said=said, left_out=left_out)


def layers_of(trials) -> list[set[str]]:
    return [set(t.recipe_data["target"]["exclude"]) for t in trials]


def test_what_ran_is_told_once_where_nothing_holds():
    ran = mixer()
    assert layers_of(ran.found)[:3] == [{"0", "6"}, {"0", "2", "6"}, {"0", "2", "4", "6"}], "proposals, then reverts"
    assert layers_of(ran.found) == ran.said and len({t.key for t in ran.found}) == len(ran.found)
    assert [item.why for item in ran.left_out] == ["no single layer takes harm away"]


def test_proposals_that_do_not_hold_are_told_beside_a_revert_that_does():
    ran = mixer(hold=({"0", "2", "4", "6"},))
    assert layers_of(ran.found) == [{"0", "6"}, {"0", "2", "6"}, {"0", "2", "4", "6"}] and not ran.left_out


def test_nothing_is_tried_after_a_proposal_that_holds():
    ran = mixer(hold=({"0", "2", "6"},))
    assert layers_of(ran.found) == [{"0", "6"}, {"0", "2", "6"}] and not ran.left_out


@pytest.mark.parametrize("order", [("6", "0"), ("0", "6")])
def test_a_recipe_that_the_user_gave_is_neither_tried_again_nor_told_twice(order):
    ran = mixer(known=(Recipe(without(order)),))
    assert ran.said and {"0", "6"} not in ran.said and layers_of(ran.found) == ran.said


def test_another_network_in_the_same_target_is_not_taken_for_the_original():
    coarse = Recipe(without(("0", "6")), (RoundWeights(bits=3),))
    assert {"0", "6"} in mixer(known=(coarse,)).said
