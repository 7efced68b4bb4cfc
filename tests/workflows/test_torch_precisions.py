"""Techniques that quantize in torch, in a study: each held against what it made, at a tolerance of its precision."""

import blobs
import inline
import numpy as np
import pytest
from studies import config, run

import primum
from primum.config import OptimizationLevel
from primum.hardware.machine import this_machine
from primum.runtimes.base import Target
from primum.study.recipe import Recipe
from primum.techniques.registry import make

SCRIPT, ONNX = Target(runtime="torchscript", threads=1), Target(runtime="onnxruntime", threads=1)
SHARES = {"dynamic_int8": 1.0, "static_int8": 0.4, "bfloat16": 0.6}
"""Of the original's bytes: little of this network is linear."""


@pytest.fixture(scope="module")
def trials(workshop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("precisions")
    lesson = blobs.make_manifest(folder / "train", 40, seed=9)
    recipes = (
        *(Recipe(SCRIPT, (make(name, {}),)) for name in SHARES),
        Recipe(ONNX, (make("qat", {"epochs": 1}),)),
        Recipe(SCRIPT, (make("weight_only", {"dtype": "nf4", "backend": "bitsandbytes"}),)),
        Recipe(ONNX, (make("dynamic_int8", {}),)),
        Recipe(Target(runtime="torch", threads=1), (make("static_int8", {}),)),
    )
    with pytest.MonkeyPatch.context() as patch:
        inline.patch(patch)
        patch.setattr("primum.study.runner.TIMED_ROUNDS", 3)
        patch.setattr("primum.study.race.ROUNDS", 2)
        patch.setattr("primum.workflows.optimize.FINAL_ROUNDS", 3)
        patch.setattr("primum.workflows.optimize.STAGE_IMAGES", 12)
        patch.setenv("PRIMUM_STATE", str(folder / "state"))
        asked = config(level=OptimizationLevel.MINIMAL, runtimes=("onnxruntime", "torchscript"))
        delivery = run(workshop, folder / "out", data="few", config=asked, recipes=recipes, train_data=lesson)
    result = delivery.result
    return {t.recipe: t for t in result.trials}, {item.what: item.why for item in result.left_out}


@pytest.mark.parametrize("name", SHARES)
def test_torch_alone_passes_parity_in_torchscript(name, trials):
    ran, left_out = trials
    if name == "bfloat16" and "bf16" not in this_machine().features:
        assert any(what.startswith("bfloat16") for what in left_out)
        return
    trial = next(t for recipe, t in ran.items() if recipe.startswith(name))
    plain = ran["torchscript[fp32, threads=1]"]
    assert trial.ok and trial.parity.passed, trial.reason
    assert trial.parity.tolerance > plain.parity.tolerance == 1e-3
    assert trial.parity.relative < 0.05, "one at a time, the file answers as the module does"
    assert trial.size_bytes < SHARES[name] * plain.size_bytes


def test_training_for_int8_passes_on_a_target_of_floats(trials):
    trial = next(t for recipe, t in trials[0].items() if recipe.startswith("qat"))
    assert trial.parity.passed and trial.parity.tolerance == 0.6, trial.reason


def test_what_no_file_can_hold_is_refused_with_a_way_out(trials):
    _, left_out = trials
    why = {what.split("(")[0].split(" ->")[0]: why for what, why in left_out.items()}
    assert "use backend torchao" in why["weight_only"]
    assert "give it the runtime torchscript" in why["dynamic_int8"]
    assert "give it the runtime torchscript" in why["static_int8"]


def test_one_is_delivered_verified_and_explained(workshop, tmp_path):
    asked = config(runtimes=("torchscript",), objective="size", accept_inconclusive=True)
    recipe = Recipe(SCRIPT, (make("static_int8", {}),))
    delivery = run(workshop, tmp_path / "out", data="few", config=asked, recipes=(recipe,))
    winner = delivery.result.winner
    assert winner.recipe == str(recipe), [(t.recipe, t.outcome, t.reason) for t in delivery.result.trials]
    assert winner.precision_proven.startswith("int8") and winner.size_bytes < 0.4 * delivery.result.baseline.size_bytes
    images = sorted((workshop.few.parent / "images").glob("*.png"))[:5]
    with primum.load(delivery.artifact) as predictor:
        together = predictor.predict([str(path) for path in images])
        alone = [predictor.predict(str(path))[0] for path in images]
    assert together == pytest.approx(np.stack(alone)), "the last layer takes ranges from each case, never from a batch"
