"""What must not be delivered quietly: saturated candidates, unguardable ones, outputs in another order."""

import pytest
from studies import config, run

import primum
from primum.config import GuardPolicy, OptimizationLevel
from primum.errors import InputError
from primum.runtimes.base import Target
from primum.study import runner
from primum.study.recipe import Recipe
from primum.techniques.registry import make
from primum.validation.gate import judge

HARMFUL = Recipe(Target(runtime="onnxruntime", threads=1), (make("round_weights", {"bits": 2}),))


def test_only_the_export_of_the_original_is_judged_as_one(workshop, tmp_path, monkeypatch):
    """That scores agree on a sample proves nothing of changed weights."""
    told: dict[str, bool] = {}
    honest = runner.Runner._run

    def spy(self, proposal, head):
        def judged(*args, exported=False):
            told[str(proposal.recipe)] = exported
            return judge(*args, exported=exported)

        monkeypatch.setattr(runner, "judge", judged)
        return honest(self, proposal, head)

    monkeypatch.setattr(runner.Runner, "_run", spy)
    same = Recipe(Target(runtime="onnxruntime", threads=1), (make("round_weights", {"bits": 8}),))
    chosen = config(runtimes=("onnxruntime",), level=OptimizationLevel.MINIMAL)
    result = run(workshop, tmp_path / "out", config=chosen, recipes=(same,)).result
    assert told.pop(str(same)) is False
    assert told and all(told.values()), "the original in other runtimes"
    assert not next(t for t in result.trials if t.recipe == str(same)).lossless


def test_what_could_not_be_guarded_is_said_and_nothing_counts_as_accepted(workshop, tmp_path, monkeypatch):
    monkeypatch.setattr("primum.study.select._GAIN", 0.0)
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


def test_a_waiver_of_nothing_is_refused_before_any_trial(workshop, tmp_path):
    policy = config().policy.model_copy(update={"waived_subgroups": ("sex=F", "sex=Q", "class=shadow")})
    with pytest.raises(InputError, match="nothing is called 'sex=Q', 'class=shadow'; .*sex=F, sex=M"):
        run(workshop, tmp_path / "out", config=config(policy=policy))
    assert not (tmp_path / "out" / "study" / "trials").exists()
