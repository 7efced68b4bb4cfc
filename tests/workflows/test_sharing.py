"""A list of trials among real processes: each runs once, and a killed worker's is taken over."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from primum.config import OptimizationConfig, ReductionConfig
from primum.errors import InputError
from primum.locking import Lock
from primum.runtimes.base import Target
from primum.study.leases import Leases
from primum.study.merits import Bounds
from primum.study.planner import Proposal
from primum.study.recipe import Recipe
from primum.study.space import Space
from primum.study.store import Store
from primum.study.trial import Status, Trial
from primum.workflows.sharing import Phase, announce, asked, heard, share

WORKER = """
import sys, time, pathlib
sys.path[:0] = sys.argv[4:]
from test_sharing import work
work(pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
"""
PROPOSALS = [Proposal(Recipe(Target(runtime="onnxruntime", threads=n)), "") for n in range(1, 7)]


def work(folder, name, seconds):
    """What a worker does with the shared list; a trial takes `seconds` and says once more that it ran."""
    store, leases = Store(folder), Leases(folder / "leases", name)

    def attempt(proposal):
        key = proposal.recipe.key
        known = store.trial(key)
        if known is not None:
            return known
        leases.sign(key)
        with (folder / f"ran-{key}").open("a") as file:
            file.write(f"{name}\n")
        time.sleep(seconds)
        trial = Trial(key, key, proposal.recipe.to_dict(), "", Status.FAILED, "no")
        store.save(trial)
        return trial

    return share(PROPOSALS, attempt, leases)


def start(folder, name, seconds):
    here = str(Path(__file__).parent)
    return subprocess.Popen([sys.executable, "-c", WORKER, str(folder), name, str(seconds), here, *sys.path])


def ran(folder):
    return {p.name.removeprefix("ran-"): p.read_text().split() for p in folder.glob("ran-*")}


def test_each_trial_runs_once_whoever_is_there(tmp_path):
    others = [start(tmp_path, name, 0.3) for name in ("one", "two")]
    found = work(tmp_path, "three", 0.3)
    assert [p.wait(timeout=60) for p in others] == [0, 0]
    assert [t.key for t in found] == [p.recipe.key for p in PROPOSALS]
    who = ran(tmp_path)
    assert len(who) == 6 and all(len(names) == 1 for names in who.values()), who


def test_what_a_killed_worker_had_is_run_by_another(tmp_path):
    stuck = start(tmp_path, "stuck", 600.0)
    deadline = time.monotonic() + 60
    while not ran(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (key,) = ran(tmp_path)
    other = start(tmp_path, "other", 0.01)
    while len(list((tmp_path / "trials").glob("*.json"))) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.6)
    assert other.poll() is None, "it waits for what the other has"
    os.kill(stuck.pid, signal.SIGKILL)
    stuck.wait()
    assert other.wait(timeout=60) == 0
    assert ran(tmp_path)[key] == ["stuck", "other"]
    assert Leases(tmp_path / "leases", "").last(key) == "other"


LEADER = (
    "import sys, pathlib\nfrom primum.study.store import Store\n"
    "with Store(pathlib.Path(sys.argv[1])).locked():\n print('held', flush=True)\n sys.stdin.read()\n"
)


def lead(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", LEADER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_leader_sweeps_nothing_while_a_joiner_writes(tmp_path):
    store = Store(tmp_path)
    assert not store.led
    leader = lead(tmp_path)
    assert store.led
    with store.joined("abc") as own:
        half = tmp_path / "candidates" / ".key-half"
        half.mkdir(parents=True)
        leader.kill()
        leader.wait()
        assert not store.led
        again = lead(tmp_path)
        assert half.is_dir() and own.is_dir(), "a joiner is at work"
        with pytest.raises(InputError, match="join it"), store.locked():
            pass
        again.kill()
        again.wait()
    assert not own.exists()
    (tmp_path / "workers" / "killed").mkdir()
    with store.locked():
        assert not half.exists() and not list((tmp_path / "workers").iterdir())


def test_a_leader_waits_for_the_instant_in_which_a_joiner_asks(tmp_path):
    asking = Lock(tmp_path / "lock")
    asking.take(shared=True)
    over = threading.Timer(0.2, asking.release)
    over.start()
    with Store(tmp_path).locked():
        assert not asking.held
    over.join()


def test_asking_whether_somebody_leads_never_keeps_a_leader_out(tmp_path):
    asking = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib\nfrom primum.study.store import Store\nstore = Store(pathlib.Path(sys.argv[1]))\n"
            "print('asks', flush=True)\nwhile True:\n store.led\n",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert asking.stdout.readline() == "asks\n"
    for _ in range(20):
        with Store(tmp_path).locked():
            pass
    asking.kill()
    asking.wait()


def test_what_the_leader_tells_is_heard_whole_and_forgotten_by_the_next(tmp_path):
    store = Store(tmp_path)
    space, bounds = Space(("openvino",), (), 1, True, 0.3, 2.0), Bounds(4, 0, (0.5, 1.1, 1.0))
    assert heard(store) == (None, None, None)
    announce(store, Phase.EXPLORING, space, bounds)
    assert heard(store) == (Phase.EXPLORING, space, bounds)
    announce(store, Phase.DONE)
    assert heard(store) == (Phase.DONE, None, None)
    with store.locked():
        assert heard(store) == (None, None, None)


def test_a_joiner_must_be_asked_the_same_beside_the_inputs(tmp_path):
    store, recipe = Store(tmp_path), Recipe(Target(runtime="openvino"))
    store.keep("asked", asked(OptimizationConfig(), [recipe]))
    store.meet(asked(OptimizationConfig(), [recipe]), "asked", "")
    other = OptimizationConfig(reduction=ReductionConfig(training_minutes=1.0))
    with pytest.raises(InputError, match="differs in: recipes, reduction.*; join so"):
        store.meet(asked(other, []), "asked", "join so")
    assert json.loads((tmp_path / "asked.json").read_text())["recipes"] == [recipe.key], "a joiner writes nothing"
