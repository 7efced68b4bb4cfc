"""The study on disk survives kills, refuses other inputs and other runs."""

import math
import subprocess
import sys

import pytest

from primum.errors import InputError
from primum.study.store import Store
from primum.study.trial import trial_from_json, trial_to_json


def test_a_trial_survives_the_way_to_disk_and_back(make_trial, tmp_path):
    trial = make_trial("a", 3.0, lost=2)
    store = Store(tmp_path)
    store.save(trial)
    found = store.trial("a")
    assert (
        trial_to_json(found) == trial_to_json(trial)
        and found.verdict.flips == trial.verdict.flips
        and len(found.verdict.flips) == 2
    )
    assert math.isnan(trial_from_json(trial_to_json(make_trial("b", math.nan))).timings.ratio)


@pytest.mark.parametrize("content", [b"", b"{", b'{"key": "a"}', b"\xff"])
def test_a_torn_record_counts_as_not_done(tmp_path, content):
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "a.json").write_bytes(content)
    assert Store(tmp_path).trial("a") is None


def test_other_inputs_are_refused_by_name(tmp_path):
    store = Store(tmp_path)
    assert store.claim({"model": "m", "level": "balanced", "shape": (1, 2)}) is False
    assert store.claim({"model": "m", "level": "balanced", "shape": (1, 2)}) is True
    with pytest.raises(InputError, match="differs in: level, model"):
        store.claim({"model": "n", "level": "minimal", "shape": (1, 2)})


def test_two_runs_cannot_share_a_study(tmp_path):
    code = (
        "import sys, pathlib\nfrom primum.study.store import Store\n"
        "with Store(pathlib.Path(sys.argv[1])).locked():\n print('held', flush=True)\n sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="another run"), Store(tmp_path).locked():
        pass
    holder.kill()
    holder.wait()
    with Store(tmp_path).locked():
        pass


def test_what_a_killed_run_was_writing_is_swept_away(tmp_path):
    (tmp_path / "candidates" / ".abc-x1").mkdir(parents=True)
    (tmp_path / "candidates" / ".abc-x1" / "half").write_text("x")
    (tmp_path / "candidates" / "abc").mkdir()
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / ".a.json.7.tmp").write_text("x")
    (tmp_path / ".inputs.npy").write_text("x")
    with Store(tmp_path).locked():
        left = sorted(p.name for p in tmp_path.rglob("*"))
    assert left == ["abc", "candidates", "lock", "trials"]
