"""Several processes over one study: each trial runs once, as one worker would, and a killed one costs nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import workers
from shell import environ

from primum.study.store import Store
from primum.workflows.sharing import Phase, heard

pytestmark = pytest.mark.slow
EXPLORED = {"reduction": {"explore": 3}}


def start(role, out, workshop, settings, state):
    return subprocess.Popen(
        [sys.executable, workers.__file__, role, out, workshop.few, workshop.weights, json.dumps(settings)],
        env=environ(PRIMUM_STATE=str(state), PYTHONPATH=os.pathsep.join([str(workers.SUPPORT), *sys.path])),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-2000:]
    return json.loads(out.splitlines()[-1])


def until(true, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not true():
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()[-2000:]
        time.sleep(0.02)


def records(out):
    return {p.stem: (p.stat().st_mtime_ns, p.read_bytes()) for p in (out / "study" / "trials").glob("*.json")}


@pytest.fixture(scope="module")
def alone(workshop, tmp_path_factory):
    """What one worker does."""
    folder = tmp_path_factory.mktemp("alone")
    return end(start("lead", folder / "out", workshop, EXPLORED, folder / "state"))


def test_exploration_is_in_the_trials_with_its_reason(alone):
    explored = [t for t in alone["trials"] if t[3].startswith("exploration: ")]
    assert {t[1] for t in explored} == {
        f"onnxruntime[int8, ranges={r}, threads=1]" for r in ("mean", "entropy", "percentile")
    }
    assert any("exploration" in what for what, _ in alone["left_out"]), "why it stopped is said"


def test_two_workers_do_what_one_does_and_each_trial_once(alone, workshop, tmp_path):
    out = tmp_path / "out"
    # Each waits a little before a trial, so that both get some.
    settings = {**EXPLORED, "slow": 1.5}
    leader = start("lead", out, workshop, settings, tmp_path / "state")
    joiner = start("join", out, workshop, settings, tmp_path / "state")
    led, joined = end(leader), end(joiner)
    assert {t[0] for t in led["trials"]} == {t[0] for t in alone["trials"]}
    assert joined["ran"] and len(set(joined["ran"])) == len(joined["ran"])
    leases = {p.name: p.read_text() for p in (out / "study" / "leases").iterdir()}
    ran = [t[0] for t in led["trials"][1:]]
    assert {k for k, who in leases.items() if who == joined["worker"]} == set(joined["ran"])
    assert set(ran) == {k for k, who in leases.items() if who}
    assert not list((out / "study" / "workers").iterdir()), "a joiner leaves nothing of its own"
    # The same again finds everything done.
    before = records(out)
    assert {t[0] for t in end(start("lead", out, workshop, EXPLORED, tmp_path / "state"))["trials"]} == {
        t[0] for t in led["trials"]
    }
    assert records(out) == before


def test_a_killed_joiner_leaves_the_study_whole_and_its_trial_is_taken_over(alone, workshop, tmp_path):
    out, state = tmp_path / "out", tmp_path / "state"
    store = Store(out / "study")
    leader = start("lead", out, workshop, {**EXPLORED, "slow": 1.0}, state)
    joiner = start("join", out, workshop, {**EXPLORED, "slow": 600.0}, state)

    def stuck():
        leases = out / "study" / "leases"
        return any(p.read_text() not in ("leader", "") for p in leases.glob("*")) if leases.is_dir() else False

    until(stuck, leader)
    leased = {p.name for p in (out / "study" / "leases").iterdir() if p.read_text() not in ("leader", "")}
    # The leader has run all the others, and waits for this one.
    until(lambda: heard(store)[0] is not None, leader)
    os.kill(joiner.pid, signal.SIGKILL)
    joiner.communicate()
    led = end(leader)
    assert {t[0] for t in led["trials"]} == {t[0] for t in alone["trials"]}
    ended = {t[0]: t[2] for t in led["trials"]}
    assert len(leased) == 1 and all(ended[key] == "ok" for key in leased)
    assert {(out / "study" / "leases" / key).read_text() for key in leased} == {"leader"}, "taken over"
    assert (out / "artifact" / "manifest.json").is_file()
    assert heard(store)[0] is Phase.DONE and not store.led


def test_a_joiner_ends_with_its_leader_and_the_next_leader_finds_what_it_did(alone, workshop, tmp_path):
    out, state = tmp_path / "out", tmp_path / "state"
    store = Store(out / "study")
    leader = start("lead", out, workshop, {**EXPLORED, "slow": 600.0}, state)
    joiner = start("join", out, workshop, EXPLORED, state)
    until(lambda: len(records(out)) > 2, joiner)
    os.kill(leader.pid, signal.SIGKILL)
    leader.communicate()
    joined = end(joiner)
    assert joined["ended"] == "the leader of the study is gone" and joined["ran"] and not store.led
    before = records(out)
    led = end(start("lead", out, workshop, EXPLORED, state))
    assert {t[0] for t in led["trials"]} == {t[0] for t in alone["trials"]}
    assert before.items() <= records(out).items(), "nothing that a joiner ran is run again"


def test_a_joiner_with_other_inputs_is_refused_and_changes_nothing(workshop, tmp_path):
    out, state = tmp_path / "out", tmp_path / "state"
    leader = start("lead", out, workshop, {"level": "minimal", "slow": 6.0}, state)
    until(lambda: heard(Store(out / "study"))[0] is not None, leader)
    others = [
        start("join", out, workshop, {"level": "balanced"}, state),
        start("join", out, workshop, {"level": "minimal", "reduction": {"explore": 2}}, state),
    ]
    for other, differing in zip(others, ("level", "reduction")):
        _, err = other.communicate(timeout=240)
        assert other.returncode and f"differs in: {differing}" in err and "join with the arguments" in err
    inputs = json.loads((out / "study" / "study.json").read_text())
    assert inputs["level"] == "minimal"
    end(leader)
