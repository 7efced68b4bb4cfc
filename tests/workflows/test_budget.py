"""Trials end with the budget, at work or not; what was found before is delivered, and more time takes up the rest."""

import json
import os
import time
from types import SimpleNamespace

import own_techniques
import pytest
from studies import config, run

from primum.config import OptimizationLevel
from primum.errors import BudgetSpent, TrialError
from primum.runtimes.base import Target
from primum.runtimes.isolated import Isolated
from primum.study.recipe import Recipe
from primum.study.store import Store
from primum.study.trial import Status
from primum.task import Task
from primum.workflows.budget import Budget
from primum.workflows.optimize import _announce

SLOW = Recipe(Target(runtime="onnxruntime", threads=1), (own_techniques.Slow(),))


def study(workshop, out, budget_s):
    asked = config(level=OptimizationLevel.MINIMAL, budget_minutes=budget_s / 60)
    return run(workshop, out, data="few", config=asked, recipes=(SLOW,))


@pytest.mark.parametrize(
    ("budget_s", "sleep_s", "said"),
    [
        pytest.param(8.0, 8.0, "ended too late", id="in this process"),
        pytest.param(30.0, 120.0, "into building", id="real", marks=[pytest.mark.processes, pytest.mark.slow]),
    ],
)
def test_a_trial_at_work_is_cut_off_and_run_again_with_more(budget_s, sleep_s, said, workshop, tmp_path, monkeypatch):
    monkeypatch.setenv("OWN_SLEEP_S", str(sleep_s))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, ["tests/support", os.environ.get("PYTHONPATH")])))
    began = time.monotonic()
    first = study(workshop, tmp_path / "out", budget_s)
    # Preparing, the original, the ranking and the final timing come on top of the trials.
    assert time.monotonic() - began < 120
    cut = next(t for t in first.result.trials if t.key == SLOW.key)
    assert cut.status is Status.CUT_OFF and cut.reason.startswith("budget: ") and said in cut.reason
    record = json.loads((tmp_path / "out" / "study" / "trials" / f"{SLOW.key}.json").read_text())
    assert record["status"] == "cut off"
    assert first.result.winner.recipe == "onnxruntime[fp32, threads=1]" and first.artifact.is_dir()
    assert "Cut off" in (tmp_path / "out" / "report.txt").read_text()

    monkeypatch.setenv("OWN_SLEEP_S", "0")
    second = study(workshop, tmp_path / "out", 600)
    again = next(t for t in second.result.trials if t.key == SLOW.key)
    assert again.ok and not again.reason


def test_the_same_command_again_has_as_many_minutes_more_and_is_told_so(monkeypatch, tmp_path):
    monkeypatch.setattr("primum.workflows.optimize.describe_plan", lambda prepared: [])
    monkeypatch.setattr("primum.workflows.optimize.notes", lambda prepared: [])
    said: list[str] = []
    listener = SimpleNamespace(say=said.append)
    prepared = SimpleNamespace(
        model=SimpleNamespace(positive="", task=Task.BINARY, classes=("a", "b")), frozen=None,
        judging=SimpleNamespace(policy=config().policy),
    )  # fmt: skip
    for minutes, end in ((7.0, ": 7 more minutes for what it has not tried"), (None, "")):
        _announce(prepared, config(budget_minutes=minutes).resolve(), True, listener)
        assert said[-1] == f"going on with the study found in the output folder{end}"
    store = Store(tmp_path / "study")
    Budget(7.0).training(10.0, store)
    assert Budget(7.0).left > 6.9, "what an earlier run spent is not counted"


def test_a_process_past_its_deadline_says_that_it_was_the_budget():
    with Isolated(900.0, time.monotonic() + 1.0) as process, pytest.raises(BudgetSpent, match="into building"):
        process.call("multiprocessing.connection:wait", object_list=[], timeout=30)
    with Isolated(900.0, time.monotonic() - 1.0) as process, pytest.raises(BudgetSpent):
        process.peak_memory()
    with Isolated(0.5, time.monotonic() + 60) as process, pytest.raises(TrialError, match="longer than") as told:
        process.call("multiprocessing.connection:wait", object_list=[], timeout=30)
    assert not isinstance(told.value, BudgetSpent)


def test_trainings_fit_into_what_is_left_and_keep_their_length_when_a_study_goes_on(tmp_path):
    store = Store(tmp_path / "study")
    assert Budget(None).training(10.0, store) == Budget(60.0).training(10.0, store) == 10.0
    cut = Budget(5.0).training(10.0, store)
    assert 3.5 < cut <= 4.0
    assert Budget(4.5).training(10.0, store) == cut, "the recipes that were run are proposed again"
    assert Budget(600.0).training(10.0, store) == 10.0, "there is time for whole ones now"
    assert Budget(5.0).training(0.5, store) == 0.5, "never more than was asked"
    assert Budget(1e-9).training(10.0, store) == cut
    assert Budget(1e-9).spent and not Budget(None).spent
