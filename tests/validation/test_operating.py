import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.config import OperatingPoint
from primum.errors import InputError
from primum.validation.operating import compare_operating, freeze_threshold, threshold_for
from primum.validation.views import View

cases = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 99)), min_size=4, max_size=60).filter(
    lambda pairs: {label for label, _ in pairs} == {0, 1}
)


@given(cases, st.floats(0.05, 0.99), st.sampled_from(["specificity", "sensitivity"]))
@settings(max_examples=200, deadline=None)
def test_the_rate_is_held_and_no_better_threshold_holds_it(pairs, asked, held):
    labels, scores = (np.array(column) for column in zip(*pairs))
    scores = scores / 100
    found = freeze_threshold(labels, scores, OperatingPoint(**{held: asked}))
    assert 0 < found.threshold < 1 and found.held == held
    assert getattr(found.achieved, held).estimate >= asked - 1e-9
    assert not np.isin(found.threshold, scores)
    # The next score on the way to a better other rate breaks the held one.
    own = scores[labels == (0 if held == "specificity" else 1)]
    if held == "specificity":
        lower = scores[scores < found.threshold]
        assert not lower.size or np.mean(own < lower.max()) < asked + 1e-9
    else:
        higher = scores[scores > found.threshold]
        assert not higher.size or np.mean(own >= np.nextafter(higher.min(), 1)) < asked + 1e-9


def test_the_threshold_is_frozen_on_counts_that_are_told():
    labels = np.r_[np.zeros(10), np.ones(10)].astype(int)
    scores = np.r_[np.linspace(0.05, 0.5, 10), np.linspace(0.41, 0.95, 10)]
    found = freeze_threshold(labels, scores, OperatingPoint(specificity=0.9), cases="selection")
    # 9 of 10 negatives lie at or below 0.45; the next score of anybody is 0.47.
    assert found.threshold == pytest.approx(0.46)
    assert found.achieved.specificity.estimate == 0.9 and found.achieved.sensitivity.estimate == 0.9
    assert (found.n, found.n_positive, found.n_negative, found.cases) == (20, 10, 10, "selection")
    assert found.achieved.specificity.lower < 0.9 < found.achieved.specificity.upper


@pytest.mark.parametrize(
    ("labels", "scores", "point", "why"),
    [
        ([1, 1], [0.2, 0.3], {"specificity": 0.9}, "no negatives"),
        ([0, 0], [0.2, 0.3], {"sensitivity": 0.9}, "no positives"),
        ([0, 1], [1.0, 1.0], {"specificity": 0.9}, "no threshold"),
        ([0, 1], [0.5, 0.0], {"sensitivity": 0.9}, "no threshold"),
        ([0, 1], [0.5, np.nan], {"sensitivity": 0.9}, "NaN"),
        ([0, 1], [0.5, 1.5], {"sensitivity": 0.9}, "probabilities"),
    ],
)
def test_what_cannot_be_held_is_refused(labels, scores, point, why):
    with pytest.raises(InputError, match=why):
        freeze_threshold(labels, scores, OperatingPoint(**point))


def test_scores_one_float_apart_still_give_a_threshold_between_them():
    low = 0.5
    high = np.nextafter(low, 1)
    assert threshold_for(np.array([0, 1]), np.array([low, high]), "specificity", 0.9) == high


def test_the_candidate_is_judged_at_the_frozen_threshold_and_shown_at_its_own():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    reference = np.clip(0.3 + 0.35 * labels + rng.normal(0, 0.15, 400), 0.01, 0.99)
    candidate = np.clip(reference + 0.1, 0.01, 0.99)  # same ranking, shifted
    point = OperatingPoint(specificity=0.9)
    at = freeze_threshold(labels, reference, point).threshold
    calls = [(s >= at).astype(int) for s in (reference, candidate)]
    found = compare_operating(View("", np.arange(400), labels, reference, candidate, *calls), np.arange(400), at, point)
    assert found.reference.specificity.estimate >= 0.9 > found.candidate.specificity.estimate
    assert found.candidate_own.threshold == pytest.approx(at + 0.1)
    assert found.candidate_own.sensitivity.estimate == found.reference.sensitivity.estimate
    assert (found.held, found.asked) == ("specificity", 0.9)


def test_no_answer_is_wrong_for_both_rates_and_an_impossible_own_threshold_is_noted():
    labels = np.array([0, 0, 1, 1])
    scores = np.array([0.2, 0.3, 0.8, 0.9])
    broken = np.array([np.nan, 1.0, np.nan, 0.9])
    calls = (scores >= 0.5).astype(int), np.array([-1, 1, -1, 1])
    view = View("", np.arange(4), labels, scores, broken, *calls)
    found = compare_operating(view, np.arange(4), 0.5, OperatingPoint(specificity=0.9))
    assert found.candidate.sensitivity.estimate == 0.5 and found.candidate.specificity.estimate == 0
    assert found.candidate_own is None and "no threshold" in found.note
    plain = compare_operating(view, np.arange(4), 0.5, None)
    assert plain.held == "" and plain.candidate_own is None
