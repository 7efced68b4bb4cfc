import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from primum.errors import InputError
from primum.task import Task
from primum.validation.conformal import defers, flip_margins, lead, strict_margins
from primum.validation.decisions import Rule

BINARY = Rule(Task.BINARY, (0.5,))
LABELS = Rule(Task.MULTILABEL, (0.5, 0.3, 0.7))
CLASSES = Rule(Task.MULTICLASS, ())
RULES = (BINARY, LABELS, CLASSES)

# Quarters and tenths: thresholds, ties and equal scores all come up.
score = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.6, 0.7, 0.75, 1.0]) | st.floats(0, 1, width=32)


@st.composite
def pairs(draw):
    rule = draw(st.sampled_from(RULES))
    n = draw(st.integers(1, 12))
    shape = (n,) if rule is BINARY else (n, 3)
    fast, reference = (draw(arrays(np.float64, shape, elements=score)) for _ in range(2))
    return rule, fast, reference


def differ(rule, fast, reference):
    changed = rule.decisions(fast) != rule.decisions(reference)
    return changed if changed.ndim == 1 else changed.any(axis=1)


def test_leads_by_hand():
    assert lead(BINARY, [0.5, 0.2, 0.75, np.nan]).tolist() == [0.0, 0.3, 0.25, -np.inf]
    assert lead(LABELS, [[0.9, 0.2, 0.1], [0.9, np.inf, 0.1]]) == pytest.approx([0.1, -np.inf])
    assert lead(CLASSES, [[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]]) == pytest.approx([0.2, 0.0])


def test_flip_margins_by_hand():
    assert flip_margins(BINARY, [0.6, 0.6, 0.4], [0.9, 0.2, 0.45]) == pytest.approx([0, 0.1, 0])
    # The first label agrees, the second flips with a lead of 0.2 and the third with one of 0.1.
    assert flip_margins(LABELS, [[0.51, 0.5, 0.6]], [[0.9, 0.1, 0.8]]) == pytest.approx([0.2])
    assert flip_margins(CLASSES, [[0.2, 0.5, 0.3], [0.2, 0.5, 0.3]], [[0, 0.4, 0.6], [0, 0.6, 0.4]]) == (
        pytest.approx([0.2, 0])
    )


def test_strict_margins_by_hand():
    assert strict_margins(BINARY, [0.6, 0.6], [0.9, 0.6]) == pytest.approx([0.3, 0])
    assert strict_margins(LABELS, [[0.6, 0.2, 0.4]], [[0.5, 0.6, 0.4]]) == pytest.approx([0.4])
    # The winner led the third class by 0.2 and, in the reference, trailed it by 0.2.
    assert strict_margins(CLASSES, [[0.2, 0.5, 0.3]], [[0.0, 0.4, 0.6]]) == pytest.approx([0.4])
    # It led both others by more in the reference: the score moved all the same.
    assert strict_margins(CLASSES, [[0.3, 0.4, 0.3]], [[0.1, 0.8, 0.1]]) == pytest.approx([0.6])


@given(pairs())
@settings(max_examples=300, deadline=None)
def test_a_band_of_the_largest_margin_leaves_no_flip(pair):
    rule, fast, reference = pair
    for margins in (flip_margins, strict_margins):
        band = margins(rule, fast, reference).max()
        assert not (differ(rule, fast, reference) & ~defers(rule, fast, band)).any()


@given(pairs())
@settings(max_examples=300, deadline=None)
def test_each_case_is_bounded_by_its_own_margin(pair):
    rule, fast, reference = pair
    flip, strict = flip_margins(rule, fast, reference), strict_margins(rule, fast, reference)
    changed = differ(rule, fast, reference)
    assert (changed == (flip > 0)).all()
    assert (strict >= flip).all()
    # A lead above the strict margin proves the decision; one above the flip margin does for this case.
    assert not (changed & (lead(rule, fast) > strict)).any()
    assert not (changed & (lead(rule, fast) > flip)).any()


@given(pairs(), st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_what_is_not_finite_always_defers_and_has_no_margin(pair, seed):
    rule, fast, reference = pair
    fast = fast.copy()
    broken = np.random.default_rng(seed).random(fast.shape) < 0.3
    fast[broken] = np.random.default_rng(seed).choice([np.nan, np.inf, -np.inf])
    rows = broken if broken.ndim == 1 else broken.any(axis=1)
    assert (lead(rule, fast) == -np.inf).tolist() == rows.tolist()
    assert defers(rule, fast, 0.0)[rows].all()
    for margins in (flip_margins, strict_margins):
        got = margins(rule, fast, reference)
        assert np.isfinite(got).all()
        assert (got[rows] == 0).all()


def test_ties_at_the_band_defer():
    assert defers(BINARY, [0.75, 0.25, 0.7500001], 0.25).tolist() == [True, True, False]


def test_a_flip_at_the_threshold_itself_is_not_hidden():
    """Fast 0.5 is positive with no lead; the reference is negative."""
    got = flip_margins(BINARY, [0.5], [0.4])
    assert got[0] > 0
    assert defers(BINARY, [0.5], got[0]).all()
    assert flip_margins(CLASSES, [[0.4, 0.4, 0.2]], [[0.3, 0.5, 0.2]])[0] > 0


def test_bad_scores_are_refused():
    with pytest.raises(InputError, match="2 of 3 cases"):
        flip_margins(BINARY, [0.1, 0.2, 0.3], [np.nan, 0.2, np.inf])
    with pytest.raises(InputError, match="1 of 2 cases"):
        strict_margins(LABELS, [[0.1] * 3] * 2, [[0.1] * 3, [0.1, np.nan, 0.1]])
    with pytest.raises(InputError, match="one shape"):
        flip_margins(BINARY, [0.1, 0.2], [0.1])
    with pytest.raises(InputError, match="do not fit"):
        lead(LABELS, [[0.1, 0.2]])
