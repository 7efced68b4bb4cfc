"""Techniques that train, whole: channels removed, taught by the original, quantized, repeated, proven, resumed."""

import json
from types import SimpleNamespace

import blobs
import inline
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from studies import config, run

import primum
from primum.config import OptimizationLevel, ReductionConfig
from primum.errors import InputError
from primum.runtimes.base import Target
from primum.study.recipe import Recipe
from primum.study.search import SEEDS
from primum.techniques.registry import make

PRUNED = Recipe(
    Target(runtime="onnxruntime", threads=1),
    (make("prune_channels", {"ratio": 0.3}), make("distill", {"epochs": 2, "validation": 0.2})),
)


@pytest.fixture(scope="module")
def lesson(workshop: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory):
    """Patients to train on whom nobody judges."""
    return blobs.make_manifest(tmp_path_factory.mktemp("lesson") / "train", 300, seed=9)


@pytest.fixture(scope="module")
def searched(workshop, lesson, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        inline.patch(patch)
        for name in ("study.runner.TIMED_ROUNDS", "study.race.ROUNDS", "workflows.optimize.FINAL_ROUNDS"):
            patch.setattr(f"primum.{name}", 3)
        patch.setattr("primum.workflows.optimize.STAGE_IMAGES", 12)
        patch.setenv("PRIMUM_STATE", str(tmp_path_factory.mktemp("state")))
        asked = config(
            level=OptimizationLevel.AGGRESSIVE,
            runtimes=("onnxruntime",),
            reduction=ReductionConfig(largest_ratio=0.2, training_minutes=0.1),
        )
        yield run(workshop, tmp_path_factory.mktemp("searched"), config=asked, train_data=lesson)


@pytest.mark.timeout(900)
def test_stages_are_judged_one_after_another_and_seeds_repeated(searched):
    tried = [(t.recipe_data.get("techniques"), t.recipe_data["target"]["precision"], t) for t in searched.result.trials]
    composed = [(len(techniques), precision) for techniques, precision, _ in tried if techniques]
    assert composed[0][1] == "fp32", "the recovered network is judged before it is quantized"
    ran = [t for techniques, _, t in tried if techniques and t.ok]
    assert ran and all(t.parity.passed for t in ran)
    seeds = [t.recipe_data["seed"] for _, _, t in tried if t.recipe_data.get("seed")]
    assert seeds in ([], list(SEEDS))
    assert all(t.recipe_data.get("seed", 0) == 0 for t in [searched.result.winner])
    assert searched.result.declared == () or not any("seed" in key for key in searched.result.declared)


def test_a_smaller_network_is_really_smaller(searched):
    def floats(trial):
        target = trial.recipe_data["target"]
        return trial.ok and (target["runtime"], target["precision"]) == ("onnxruntime", "fp32")

    sizes = {len(t.recipe_data["techniques"]): t.size_bytes for t in searched.result.trials if floats(t)}
    assert sizes[2] < 0.9 * sizes[0]


def test_what_was_trained_is_kept_and_found_again(searched):
    stages = searched.artifact.parent / "study" / "stages"
    kept = [json.loads(p.read_text()) for p in stages.glob("*/stage.json")]
    recovered = [k for k in kept if "distill" in k["recipe"]]
    assert recovered, [k["recipe"] for k in kept]
    trials = [t for t in searched.result.trials if "distill" in t.recipe and not t.recipe_data.get("seed")]
    # One export serves FP32 and INT8 of the same stages: each names the same seconds of training in its effort.
    assert len({k["recipe"].split(" -> ")[0] for k in recovered}) <= len(trials)


def test_training_knows_patients_by_pseudonym(searched, lesson):
    units = np.load(searched.artifact.parent / "study" / "train" / "units.npy", allow_pickle=False)
    assert len(set(units)) == 300 and not any(str(unit) in lesson.read_text() for unit in units)


def test_the_report_sets_techniques_beside_one_another(searched):
    page = searched.report.read_text()
    assert "Techniques compared" in page and "channels removed" in page and "distilled" in page


def test_without_training_data_a_recipe_that_trains_is_left_out_with_the_reason(workshop, tmp_path):
    asked = config(level=OptimizationLevel.MINIMAL, runtimes=("onnxruntime",))
    result = run(workshop, tmp_path / "out", config=asked, recipes=(PRUNED,)).result
    assert any(item.what == str(PRUNED) and "--train-data" in item.why for item in result.left_out)
    assert not any("prune" in t.recipe for t in result.trials)


def test_training_patients_may_not_be_judged(workshop, tmp_path):
    with pytest.raises(InputError, match="are in both"):
        run(workshop, tmp_path / "out", config=config(), train_data=workshop.many, recipes=(PRUNED,))


def test_a_recipe_out_of_order_is_refused():
    with pytest.raises(InputError, match="prune, distil, quantize"):
        Recipe.from_dict(
            {"techniques": [{"round_weights": {"bits": 8}}, {"prune_channels": {}}], "target": {"runtime": "openvino"}}
        )


def test_a_pruned_network_cannot_be_packaged_for_the_originals_factory(workshop, lesson, tmp_path):
    eager = Recipe(Target(runtime="torch", threads=1), PRUNED.techniques)
    asked = config(level=OptimizationLevel.MINIMAL, runtimes=("onnxruntime",))
    result = run(workshop, tmp_path / "out", config=asked, recipes=(eager,), train_data=lesson).result
    assert any(item.what == str(eager) and "factory" in item.why for item in result.left_out)


def test_infeasible_wishes_are_refused_before_any_time_is_spent(workshop, tmp_path):
    """A network of convolutions alone has nothing that 4 bits exist for; zeros in a pattern need hardware."""
    state = load_file(workshop.weights)
    state["head.weight"] = state["head.weight"].reshape(1, 256, 2, 2)
    save_file(state, tmp_path / "weights.safetensors")
    wishes = (
        Recipe(Target(runtime="onnxruntime", precision="int4-weights", threads=1)),
        Recipe(Target(runtime="onnxruntime", threads=1), (make("prune_n_of_m", {}),)),
    )
    result = primum.optimize(
        "nets:convolutions",
        workshop.many,
        tmp_path / "out",
        checkpoint=tmp_path / "weights.safetensors",
        patient_column="patient_id",
        preprocessing=workshop.many.parent / "preprocessing.yaml",
        config=config(level=OptimizationLevel.MINIMAL, runtimes=("onnxruntime",)),
        recipes=wishes,
    ).result
    reasons = {item.what: item.why for item in result.left_out}
    assert "4-bit convolutions do not exist" in reasons[str(wishes[0])]
    assert "sparse tensor cores" in reasons[str(wishes[1])]
    assert not any(t.recipe in reasons for t in result.trials)
