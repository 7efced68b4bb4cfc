"""Guarded prediction, whole: a model that harms alone is proven with the original beside it."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

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
