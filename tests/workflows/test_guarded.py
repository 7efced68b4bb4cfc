"""Guarded prediction, whole: a model that harms alone is proven with the original beside it."""

import csv
import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import blobs
import inline
import numpy as np
import pytest
from studies import config, run

import primum
from primum.artifact.golden import replay
from primum.config import GuardPolicy, OptimizationConfig, OptimizationLevel
from primum.errors import IntegrityError
from primum.runtimes.base import Target
from primum.study.recipe import Recipe
from primum.techniques.registry import make
from primum.workflows.compare import compare

HARMFUL = Recipe(Target(runtime="onnxruntime", threads=1), (make("round_weights", {"bits": 2}),))


def alone(guard: GuardPolicy) -> OptimizationConfig:
    """Lossless runtimes and the harmful recipe, nothing else."""
    return config(guard=guard, runtimes=("onnxruntime",), level=OptimizationLevel.MINIMAL)


@pytest.fixture(autouse=True)
def speed_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounded weights gain no speed; here every working candidate counts as fast enough."""
    monkeypatch.setattr("primum.study.select._GAIN", 0.0)


@pytest.fixture(scope="module")
def delivery(workshop: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("primum.study.select._GAIN", 0.0)
        inline.patch(patch)
        for name in ("study.runner.TIMED_ROUNDS", "study.race.ROUNDS", "workflows.optimize.FINAL_ROUNDS"):
            patch.setattr(f"primum.{name}", 3)
        patch.setattr("primum.workflows.optimize.STAGE_IMAGES", 12)
        patch.setenv("PRIMUM_STATE", str(tmp_path_factory.mktemp("state")))
        guard = GuardPolicy(epsilon=0.02, delta=None)
        out = tmp_path_factory.mktemp("guarded")
        yield run(workshop, out, config=alone(guard), recipes=(HARMFUL,))


def test_a_harmful_model_is_delivered_guarded_and_proven(delivery):
    result = delivery.result
    alone = next(t for t in result.trials if t.recipe == str(HARMFUL))
    assert alone.outcome == "INFERIOR"
    assert result.winner.guard is not None and result.winner.guard.of == alone.key
    assert result.accepted and result.outcome == "NON_INFERIOR"
    found = result.guard.outcome
    assert found.flips_left < found.flips_unguarded and 0 < found.deferred < 1
    assert result.verdict.agreement.flips == found.flips_left, "the gate saw what the guard leaves"


def test_the_artifact_defers_by_itself_and_says_so(delivery):
    judging = np.load(delivery.artifact.parent / "study" / "inputs.npy", mmap_mode="r")[:200]
    with primum.load(delivery.artifact) as predictor:
        answer = predictor.predict_tensor_guarded(judging)
        assert np.array_equal(answer.probabilities, predictor.predict_tensor(judging))
        guard = predictor.manifest.guard
        assert 0 < answer.deferred.sum() < 200
        assert predictor.deferrals.cases == 400
    assert (np.abs(answer.probabilities[~answer.deferred, 1] - 0.5) > guard.band).all()
    assert guard.epsilon == 0.02 and guard.delta is None and guard.by_class
    assert guard.deferred == pytest.approx(delivery.result.guard.outcome.deferred)
    assert (delivery.artifact / "reference").is_dir()


def test_size_is_told_with_and_without_the_original(delivery):
    summary = delivery.summary()
    assert summary["size_ratio_with_reference"] < summary["size_ratio"]
    assert summary["speedup"] == pytest.approx(delivery.result.final[delivery.result.winner.key].effective)


def test_a_benchmark_tells_the_gain_of_the_means(delivery):
    (found,) = compare([delivery.artifact], rounds=3)
    t = found.timings
    assert found.guarded and found.speedup == (t.effective, t.effective_lower, t.effective_upper)
    assert replace(found, guarded=False).speedup == (t.ratio, t.ratio_lower, t.ratio_upper)


def test_a_changed_reference_is_refused(delivery, tmp_path):
    copy = tmp_path / "artifact"
    shutil.copytree(delivery.artifact, copy)
    target = next((copy / "reference").iterdir())
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match="reference"):
        primum.load(copy)


def test_too_few_guard_patients_say_how_many_are_needed_and_nothing_unguarded_is_delivered(workshop, tmp_path):
    guard = GuardPolicy(epsilon=0.001, delta=0.05)
    found = run(workshop, tmp_path / "out", config=alone(guard), recipes=(HARMFUL,))
    refused = next(t for t in found.result.trials if t.recipe == f"{HARMFUL} guarded")
    assert refused.status == "failed" and "2995" in refused.reason.replace(",", "")
    assert found.result.winner.lossless and found.result.guard is None
    assert not (found.artifact / "reference").exists()
    assert json.loads((found.artifact / "manifest.json").read_text())["guard"] is None


def test_the_smallest_epsilon_is_found_from_the_number_of_patients(workshop, tmp_path):
    guard = GuardPolicy(epsilon=None, delta=0.05)
    out = tmp_path / "out"
    result = run(workshop, out, config=alone(guard), recipes=(HARMFUL,)).result
    band = next(t for t in result.trials if t.guard is not None).guard.band
    smallest = min(c.n_patients for c in band.classes)
    assert band.epsilon == pytest.approx(1 - 0.05 ** (1 / smallest), rel=1e-6)


def test_golden_vectors_hold_both_models(delivery, tmp_path):
    with primum.load(delivery.artifact) as predictor:
        assert replay(delivery.artifact, predictor).passed
    copy = tmp_path / "artifact"
    shutil.copytree(delivery.artifact, copy)
    with np.load(copy / "golden.npz") as arrays:
        changed = {**arrays, "reference_raw": arrays["reference_raw"] + 1.0}
    np.savez_compressed(copy / "golden.npz", **changed)
    with primum.load(delivery.artifact) as predictor:
        assert not replay(copy, predictor).passed, "a reference that answers otherwise is noticed"


def test_an_edited_band_is_noticed(delivery, tmp_path):
    copy = tmp_path / "artifact"
    shutil.copytree(delivery.artifact, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["guard"]["band"] *= 0.5
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with primum.load(copy) as predictor, pytest.raises(IntegrityError, match="guard band"):
        replay(copy, predictor)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Patients that the study has not seen."""
    return blobs.make_manifest(tmp_path_factory.mktemp("fresh") / "data", 500, seed=9)


def judged(artifact, workshop, fresh, *more):
    return inline.primum(
        "validate", "--artifact", artifact, "--model", "nets:build", "--checkpoint", workshop.weights, "--data", fresh,
        "--patient-column", "patient_id", "--margin", 0.08, "--auroc-margin", 0.05, "--brier-margin", 0.05, *more,
    )  # fmt: skip


def test_new_patients_test_what_the_guard_promised(delivery, workshop, fresh):
    done = judged(delivery.artifact, workshop, fresh, "--json")
    told = json.loads(done.stdout)
    guard, promise = told["guard"], told["guard"]["promise"]
    with primum.load(delivery.artifact) as predictor:
        known, answered = predictor.manifest.guard, predictor.predict_guarded(images(fresh))
    assert (promise["epsilon"], promise["delta"], promise["mode"]) == (0.02, None, "average")
    assert promise["band"] == known.band and promise["by_class"] and not promise["strict"]
    assert guard["outcome"]["n"] == 550 and guard["outcome"]["n_patients"] == 500
    assert guard["outcome"]["deferred"] == pytest.approx(answered.deferred.mean(), abs=0.005) != 0
    assert guard["outcome"]["flips_left"] == told["verdict"]["agreement"]["flips"] < guard["outcome"]["flips_unguarded"]
    assert [bound["leak"]["name"] for bound in guard["bounds"]] == ["all", "clear", "shadow"]
    assert done.returncode == 0 and guard["findings"] == []
    text = judged(delivery.artifact, workshop, fresh).stdout
    assert "guard: epsilon 2% on average over draws of guard patients, within each class" in text
    assert f"band {known.band:.4g}" in text and "% of cases deferred" in text and "DOES NOT HOLD" not in text
    assert re.search(r"shadow +\d+ +\d+ ", text)


def images(manifest):
    with manifest.open() as file:
        return [str(manifest.parent / row["path"]) for row in csv.DictReader(file)]


def test_a_guard_whose_bound_is_broken_is_the_first_thing_said(delivery, workshop, fresh, tmp_path):
    """A band too small for what the fast model changes, as one set on patients unlike these would be."""
    copy = shutil.copytree(delivery.artifact, tmp_path / "artifact")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["guard"]["band"] = 1e-6
    (copy / "manifest.json").write_text(json.dumps(manifest))
    # Margins so wide that the verdict passes whatever changed: what the guard promised is another question.
    done = judged(copy, workshop, fresh, "--margin", 0.9, "--auroc-margin", 0.9, "--brier-margin", 0.9)
    assert done.stdout.startswith("WARNING: the guard's bound DOES NOT HOLD on these patients"), done.stdout[:300]
    assert "EXCEEDED" in done.stdout and "verdict: NON_INFERIOR" in done.stdout
    assert done.returncode == 3, "nobody's script takes it for a pass"


def test_the_guard_is_checked_at_its_own_threshold(delivery, workshop, fresh):
    told = json.loads(judged(delivery.artifact, workshop, fresh, "--threshold", 0.7, "--json").stdout)
    assert any("the guard is checked at the artifact's own threshold" in note for note in told["notes"])
    plain = json.loads(judged(delivery.artifact, workshop, fresh, "--json").stdout)
    assert told["guard"] == plain["guard"]
