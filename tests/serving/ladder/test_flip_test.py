"""One artifact's test: bars at the case where the evidence suffices, and goes on where an earlier run stopped."""

from math import log

from primum.serving.ladder.flip_test import FlipTest
from primum.validation.sequential import confidence_sequence, log_e_value


def made(**changes):
    return FlipTest(**({"sha256": "a", "recipe": "r", "against": "b", "most_flips": 0.02, "alpha": 0.025} | changes))


def test_it_bars_once_at_the_flip_where_the_evidence_reaches_its_limit():
    test = made()
    ended = [test.add(k % 3 == 0) for k in range(60)]
    assert sum(ended) == 1
    at = ended.index(True) + 1
    flips = (at + 2) // 3
    assert log_e_value(flips, at, 0.02) >= log(40) > log_e_value(flips - 1, at - 1, 0.02)
    assert test.barred is not None and test.log_e == log_e_value(20, 60, 0.02)
    assert test.bounds == confidence_sequence(20, 60, 0.025)


def test_a_rate_within_what_is_allowed_does_not_bar():
    test = made()
    assert not any(test.add(k % 100 == 99) for k in range(3000)) and test.barred is None


def test_counts_go_on_only_where_the_same_is_asked_of_the_same():
    first = made()
    for k in range(50):
        first.add(k == 7)
    record = first.record()
    for changes, cases in (({}, 50), ({"against": "c"}, 0), ({"most_flips": 0.05}, 0)):
        test = made(**changes)
        test.resume(record)
        assert (test.cases, test.barred) == (cases, None)


def test_a_bar_stands_whatever_is_asked_now():
    first = made()
    while not first.add(True):
        pass
    for changes in ({}, {"against": "c"}, {"most_flips": 0.5}):
        test = made(**changes)
        test.resume(first.record())
        assert test.barred == first.barred and test.flips == first.flips
