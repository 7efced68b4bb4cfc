"""Exploration in a whole study that trains: its recipes are built, judged and reported as all others."""

import json

import blobs
import pytest
from studies import config, run

from primum.config import OptimizationLevel, ReductionConfig
from primum.study.recipe import Recipe
from primum.study.trial import Status
from primum.workflows.exploring import MORE

pytestmark = pytest.mark.slow
TRAINING = {"largest_ratio": 0.2, "training_minutes": 0.05}


@pytest.fixture(scope="module")
def explored(workshop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explored")
    lesson = blobs.make_manifest(folder / "train", 200, seed=9)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("study.runner.TIMED_ROUNDS", "workflows.optimize.FINAL_ROUNDS"):
            patch.setattr(f"primum.{name}", 3)
        patch.setattr("primum.workflows.optimize.STAGE_IMAGES", 12)
        patch.setenv("PRIMUM_STATE", str(folder / "state"))
        asked = config(
            level=OptimizationLevel.AGGRESSIVE,
            runtimes=("onnxruntime",),
            reduction=ReductionConfig(explore=4, **TRAINING),
        )
        yield run(workshop, folder / "out", data="few", config=asked, train_data=lesson)


@pytest.mark.timeout(900)
def test_explored_recipes_are_trials_like_others(explored):
    result = explored.result
    found = [t for t in result.trials if t.why.startswith("exploration: ")]
    assert len(found) == 4 and len({t.key for t in result.trials}) == len(result.trials)
    assert all(t.status in (Status.OK, Status.FAILED) for t in found) and any(t.ok for t in found)
    trained = [Recipe.from_dict(t.recipe_data) for t in found if Recipe.from_dict(t.recipe_data).trains]
    assert trained, "the seed of this study draws at least one network that is trained"
    pruned = [r.techniques[0].ratio for r in trained if hasattr(r.techniques[0], "ratio")]
    assert all(ratio <= 0.2 for ratio in pruned)
    ended = {item.what: item.why for item in result.left_out}
    assert ended[MORE] == "the 4 recipes that were asked for were run"


def test_they_stand_in_the_report_with_why(explored):
    page = explored.report.read_text()
    assert "exploration: " in page and MORE in page
    written = json.loads((explored.artifact / "evidence" / "report.json").read_text())
    assert sum("exploration: " in t["why"] for t in written["trials"]) == 4
