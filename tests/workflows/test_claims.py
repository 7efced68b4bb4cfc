"""Which claim is the best, and why a runtime has none."""

from dataclasses import replace
from types import SimpleNamespace

import made
import pytest

from primum.runtimes.base import get_runtime
from primum.study.objective import LATENCY, SIZE
from primum.study.planner import LeftOut
from primum.study.trial import Status, Trial
from primum.workflows.claims import best_claim, not_delivered


@pytest.fixture(scope="module")
def make_trial():
    return made.trial_maker()


def claim(trial, unproven=False):
    return SimpleNamespace(winner=trial, unproven=unproven)


def test_the_best_claim_is_best_by_the_objective(make_trial):
    fast, small = claim(make_trial("fast", 5.0, size=90)), claim(make_trial("small", 2.0, size=20))
    assert best_claim([small, fast], LATENCY) is fast and best_claim([small, fast], SIZE) is small


def test_an_unproven_artifact_is_the_best_only_where_all_are(make_trial):
    proven, doubtful = claim(make_trial("proven", 2.0)), claim(make_trial("doubtful", 9.0), unproven=True)
    assert best_claim([doubtful, proven], LATENCY) is proven
    assert best_claim([doubtful], LATENCY) is doubtful


def of(runtime, trial):
    return replace(trial, recipe=f"{runtime}[{trial.key}]", recipe_data={"target": {"runtime": runtime}})


def failed(runtime, key, reason):
    return of(runtime, Trial(key, key, {}, "", Status.FAILED, reason=reason))


def test_why_nothing_ran_is_told_of_that_runtime_alone():
    trials = [failed("openvino", str(i), f"reason {i}") for i in range(5)] + [failed("onnxruntime", "x", "elsewhere")]
    said = not_delivered("openvino", trials, ())
    assert said.runtime == "openvino" and "reason 0" in said.reason and "and 2 more" in said.reason
    assert "elsewhere" not in said.reason


def test_what_was_left_out_is_a_reason_too():
    left_out = [LeftOut("openvino[fp32]", "the graph has no operator"), LeftOut("onnxruntime[fp32]", "elsewhere")]
    said = not_delivered("openvino", [], left_out).reason
    assert said == "nothing ran there: openvino[fp32]: the graph has no operator"
    assert not_delivered("openvino", [], ()).reason == "nothing was proposed there"


def test_candidates_that_ran_but_were_not_proven_are_named(make_trial):
    doubtful = of("openvino", make_trial("int8", 3.0, lost=60))
    said = not_delivered("openvino", [doubtful, failed("openvino", "fp32", "it hung")], ()).reason
    assert "does not run there unchanged" in said and "INFERIOR" in said and "it hung" in said


def test_a_runtime_that_is_not_installed_is_said_so(monkeypatch):
    monkeypatch.setattr(type(get_runtime("openvino")), "missing", lambda self: "pip install primum[cpu]")
    assert not_delivered("openvino", [], ()).reason == "not installed: pip install primum[cpu]"
