"""Which candidate is guarded: by what its guarded form would be, not by what it is alone."""

from dataclasses import replace

import made
import pytest

from primum.study.guard_choice import most_promising
from primum.study.objective import LATENCY


@pytest.fixture(scope="module")
def make_trial():
    return made.trial_maker()


def chosen(candidates, lossless, guarded, chances=None):
    """`guarded`: speed of the guarded form by key."""
    chances = chances or {}
    return most_promising(
        candidates,
        lossless,
        LATENCY,
        lambda t: replace(t, timings=replace(t.timings, ratio_unhindered=guarded[t.key])),
        lambda t: chances.get(t.key, 1.0),
    )


def test_the_fastest_alone_is_passed_over_where_it_defers_too_much(make_trial):
    lossless, wild, tame = make_trial("lossless", 2.0), make_trial("wild", 9.0), make_trial("tame", 5.0)
    assert chosen([wild, tame], lossless, {"wild": 2.5, "tame": 4.5}) is tame
    assert chosen([wild, tame], lossless, {"wild": 7.0, "tame": 4.5}) is wild


def test_a_gain_counts_by_its_chance_of_confirmation(make_trial):
    lossless, wild, tame = make_trial("lossless", 2.0), make_trial("wild", 9.0), make_trial("tame", 5.0)
    assert chosen([wild, tame], lossless, {"wild": 6.0, "tame": 4.0}, {"wild": 0.1, "tame": 0.9}) is tame


def test_where_none_is_foreseen_to_gain_the_likeliest_is_tried(make_trial):
    lossless, one, other = make_trial("lossless", 3.0), make_trial("one", 9.0), make_trial("other", 5.0)
    assert chosen([one, other], lossless, {"one": 2.0, "other": 1.0}, {"one": 0.1, "other": 0.9}) is other
    assert chosen([], lossless, {}) is None
