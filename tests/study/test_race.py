"""Who takes part in the run that ranks, and that the run itself ranks."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.study import race
from primum.study.race import LEADERS, NEAR, SAID, leaders, ranked
from primum.study.store import Store


def test_leaders_are_near_the_fastest_and_harmless_with_the_floor_beside(make_trial):
    trials = [
        make_trial("original", 1.0, self_contained=False),
        make_trial("export", 3.0),
        make_trial("a", 10.0, lost=0),
        make_trial("b", 7.0, lost=0),
        make_trial("slow", 5.0, lost=0),
        make_trial("harmful", 50.0, lost=60),
    ]
    assert [t.key for t in leaders(trials)] == ["a", "b", "export", "original"]
    assert [t.key for t in leaders(trials[:2])] == ["export", "original"]


@settings(deadline=None)
@given(speeds=st.lists(st.floats(0.1, 50), min_size=1, max_size=12), exact=st.integers(0, 5))
def test_there_are_few_leaders_and_the_fastest_is_one(make_trial, speeds, exact):
    trials = [make_trial(f"e{i}", 1.0 + i) for i in range(exact)]
    trials += [make_trial(str(i), speed, lost=0) for i, speed in enumerate(speeds)]
    chosen = leaders(trials)
    assert len(chosen) <= LEADERS
    assert max(speeds) in {t.speed for t in chosen if not t.lossless}
    assert all(t.lossless or t.speed >= NEAR * max(speeds) for t in chosen)


class Sleeper:
    """Stands for a process: answers timing with a fixed latency."""

    def __init__(self, ms):
        self.ms = ms

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def time(self, inputs, rows):
        return np.full(len(rows), self.ms)

    def preemptions(self):
        return 0.0

    def peak_memory(self):
        return 1


@pytest.fixture
def runner(tmp_path):
    """A runner whose candidates take known milliseconds."""
    opened, took = [], {"original": 100.0, "a": 20.0, "b": 10.0}

    def session(key):
        opened.append(key)
        return Sleeper(took[key]), {"load_ms": 1.0, "first_ms": 1.0}

    data = SimpleNamespace(data=SimpleNamespace(path=tmp_path))
    return SimpleNamespace(
        session=session,
        opened=opened,
        store=Store(tmp_path),
        baseline_key="original",
        seed=0,
        timed_rows=lambda: np.arange(50),
        judging=data,
    )


def test_the_common_run_overturns_what_trials_at_different_moments_said(make_trial, runner, monkeypatch):
    monkeypatch.setattr(race, "ROUNDS", 3)
    trials = [make_trial("original", 1.0), make_trial("a", 9.0, lost=0), make_trial("b", 8.0, lost=0)]
    said = []
    after = {t.key: t for t in ranked(runner, trials, ("",), said.append)}
    assert after["a"].speed == pytest.approx(5) and after["b"].speed == pytest.approx(10)
    assert SAID in after["b"].notes and said
    assert after["a"].verdict == trials[1].verdict


def test_a_restarted_study_ranks_as_before_without_a_second_run(make_trial, runner, monkeypatch):
    monkeypatch.setattr(race, "ROUNDS", 3)
    trials = [make_trial("original", 1.0), make_trial("a", 9.0, lost=0), make_trial("b", 8.0, lost=0)]
    first = ranked(runner, trials, ("",), lambda _: None)
    runner.opened.clear()
    again = ranked(runner, trials, ("",), lambda _: None)
    assert not runner.opened and [t.speed for t in again] == [t.speed for t in first]
    assert np.isnan(again[1].timings.p99), "three rounds cannot support a 99th percentile"
