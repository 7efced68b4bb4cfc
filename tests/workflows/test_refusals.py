"""What must not be delivered quietly: saturated candidates, unguardable ones, outputs in another order."""

import pytest
from studies import config, run

import primum
from primum.config import GuardPolicy, OptimizationLevel
from primum.errors import InputError
from primum.runtimes.base import Target
from primum.study.recipe import Recipe
from primum.techniques.registry import make

HARMFUL = Recipe(Target(runtime="onnxruntime", threads=1), (make("round_weights", {"bits": 2}),))


def test_a_candidate_that_only_agrees_on_a_sample_is_never_lossless(workshop, tmp_path, monkeypatch):
    """Even where every score agrees as closely as an export's, changed weights go through confirmation."""
    monkeypatch.setattr("primum.study.select._GAIN", 0.0)
    monkeypatch.setattr("primum.validation.gate.LOSSLESS", 1.0)
    same = Recipe(Target(runtime="onnxruntime", threads=1), (make("round_weights", {"bits": 8}),))
    chosen = config(runtimes=("onnxruntime",), level=OptimizationLevel.MINIMAL)
    result = run(workshop, tmp_path / "out", config=chosen, recipes=(same,)).result
    trial = next(t for t in result.trials if t.recipe == str(same))
    assert trial.verdict.basis == "statistical" and not trial.lossless
    if result.winner.key == trial.key:
        assert [c.key for c in result.confirmations][-1] == trial.key


def test_what_could_not_be_guarded_is_said_and_nothing_counts_as_accepted(workshop, tmp_path, monkeypatch):
    for name in ("guard._GAIN", "select._GAIN"):
        monkeypatch.setattr(f"primum.study.{name}", 0.0)
    guard = GuardPolicy(epsilon=0.001)
    chosen = config(guard=guard, runtimes=("onnxruntime",), level=OptimizationLevel.MINIMAL)
    result = run(workshop, tmp_path / "out", config=chosen, recipes=(HARMFUL,)).result
    assert result.winner.lossless and not result.accepted
    assert "could not be made" in result.reasons[0] and "needed" in result.reasons[0]
    with primum.load(tmp_path / "out" / "artifact") as predictor:
        answer = predictor.predict_guarded([str(p) for p in sorted((workshop.many.parent / "images").iterdir())[:3]])
    assert answer.deferred.tolist() == [False] * 3


def test_patients_are_no_group(workshop, tmp_path):
    with pytest.raises(InputError, match="names patients or cases"):
        run(workshop, tmp_path / "out", group_columns=("patient_id",))
