"""Whether what a guard promised holds on patients that it has never seen."""

import numpy as np
import pytest

from primum.task import Task
from primum.validation.decisions import Rule
from primum.validation.guard_check import GuardPromise, Standing, check_guard
from primum.validation.guard_curve import assess_guard

RULE = Rule(Task.BINARY, (0.5,))
NAMES = ("clear", "shadow")


def made(n=1000, undetected=0, deferred=100):
    """`deferred` cases near the boundary that change there, and `undetected` ones that change far from it; of all
    others nothing does. The original calls the second half positive, where the changes are."""
    reference = np.repeat([0.1, 0.9], n // 2)
    fast = reference.copy()
    fast[n // 2 : n // 2 + deferred] = 0.49
    fast[n - undetected :] = 0.1 if undetected else fast[n - undetected :]
    return fast, reference, np.arange(n)


def promise(**changes):
    fields = {"epsilon": 0.02, "delta": 0.05, "by_class": True, "strict": False, "band": 0.05}
    return GuardPromise(**fields | changes)


def standings(found):
    return {bound.leak.name: bound.standing for bound in found.bounds}


def test_the_figures_are_those_of_the_study():
    fast, reference, units = made(undetected=5)
    found = check_guard(promise(), RULE, NAMES, fast, reference, units, 0.95)
    assert found.outcome == assess_guard(RULE, NAMES, fast, reference, units, 0.05, 0.95)
    assert (found.outcome.deferred, found.outcome.flips_unguarded, found.outcome.patients_left) == (0.1, 105, 5)
    first, *classes = (bound.leak for bound in found.bounds)
    assert (first.n_patients, first.patients_left, first.upper) == (1000, 5, found.outcome.upper)
    assert tuple(classes) == found.outcome.by_class


@pytest.mark.parametrize(
    ("undetected", "expected"),
    [
        (0, (Standing.HELD, Standing.HELD, Standing.HELD)),  # 0 of 500: at most 0.74 %
        (8, (Standing.HELD, Standing.HELD, Standing.OPEN)),  # 8 of 500: 0.69 to 3.1 %
        (30, (Standing.OPEN, Standing.HELD, Standing.EXCEEDED)),  # 30 of 500: from 4.1 %, of 1000 from 2.03 %
    ],
)
def test_a_bound_is_held_open_or_exceeded_by_its_interval(undetected, expected):
    found = check_guard(promise(epsilon=0.025), RULE, NAMES, *made(undetected=undetected), 0.95)
    assert tuple(standings(found).values()) == expected
    assert found.exceeded is (Standing.EXCEEDED in expected)


def test_what_is_exceeded_is_said_in_numbers():
    found = check_guard(promise(), RULE, NAMES, *made(undetected=60), 0.95)
    everyone, shadow = found.findings
    assert everyone.startswith("of all patients 60 of 1000 have a changed decision that was not deferred: at least 4.6")
    assert "where at most 2% was promised, with confidence 0.95" in everyone
    assert "whom the original calls shadow 60 of 500" in shadow and "within each class" in shadow


def test_a_promise_on_average_says_that_one_draw_may_exceed_it():
    found = check_guard(promise(delta=None), RULE, NAMES, *made(undetected=60), 0.95)
    assert found.promise.mode == "average" and promise().mode == "confidence"
    assert "on average over draws of guard patients" in found.findings[0]


def test_of_a_guard_that_promised_nothing_by_class_only_the_whole_is_held_against_it():
    found = check_guard(promise(by_class=False, epsilon=0.05), RULE, NAMES, *made(undetected=45), 0.95)
    assert standings(found) == {"all": Standing.OPEN, "clear": Standing.HELD, "shadow": Standing.EXCEEDED}
    assert [bound.promised for bound in found.bounds] == [True, False, False]
    assert not found.exceeded and not found.findings


def test_a_class_that_nobody_is_in_is_open():
    fast, reference, units = made()
    found = check_guard(promise(), RULE, NAMES, fast[:500], reference[:500], units[:500], 0.95)
    assert standings(found)["shadow"] is Standing.OPEN and not found.exceeded


def test_where_the_original_gave_no_answer_nothing_can_be_known():
    fast, reference, units = made()
    reference[:3] = np.nan
    found = check_guard(promise(), RULE, NAMES, fast, reference, units, 0.95)
    assert found.outcome is None and found.bounds == () and not found.exceeded
    assert "3 of 1000 cases" in found.reason and "cannot be known" in found.reason
