from fractions import Fraction
from math import comb, isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from primum.config import GuardPolicy
from primum.errors import InputError
from primum.task import Task
from primum.validation.conformal import (
    defers,
    fit_band,
    flip_margins,
    patients_needed,
    rank,
    smallest_epsilon,
    stratify,
)
from primum.validation.decisions import Rule

BINARY = Rule(Task.BINARY, (0.5,))
NAMES = ("negative", "positive")
ON_AVERAGE = GuardPolicy(epsilon=0.1, delta=None, by_class=False)


def noisy(seed, patients=200, noise=0.05, several=True):
    """Scores of the fast model, of the reference, and the patients, who have one to four cases."""
    rng = np.random.default_rng(seed)
    cases = rng.integers(1, 5, patients) if several else np.ones(patients, int)
    units = np.repeat(np.arange(patients), cases)
    reference = rng.beta(0.7, 0.7, units.size)
    errors = rng.normal(0, noise, patients)[units] + rng.normal(0, noise / 2, units.size)
    return np.clip(reference + errors, 0, 1), reference, units


def test_published_number_of_patients():
    """No order statistic holds 0.005 at 0.05 with 597 patients; the largest of 598 does."""
    assert rank(597, 0.005, 0.05) is None
    assert rank(598, 0.005, 0.05) == 598
    assert patients_needed(0.005, 0.05) == 598
    # Wilks: 59 for the one-sided 95/95 tolerance limit, 93 for its second largest.
    assert patients_needed(0.05, 0.05) == 59
    assert [rank(n, 0.05, 0.05) for n in (58, 59, 92, 93)] == [None, 59, 92, 92]


def test_rank_on_average():
    assert [rank(n, 0.1, None) for n in (8, 9, 18, 19, 99)] == [None, 9, 18, 18, 90]
    assert (rank(198, 0.005, None), rank(199, 0.005, None)) == (None, 199)
    assert patients_needed(0.005, None) == 199
    # In floating point 25 × (1 - 0.44) exceeds 14, and 100 × 0.29 falls short of 29: no rank may hang on that.
    assert (rank(24, 0.44, None), rank(99, 0.29, None)) == (14, 71)


@given(st.integers(1, 400), st.integers(1, 49), st.sampled_from([0.01, 0.05, 0.1, 0.25]))
@settings(max_examples=200, deadline=None)
def test_rank_is_the_exact_binomial_one(n, hundredths, delta):
    epsilon, wanted = Fraction(hundredths, 100), Fraction(str(delta))
    total, k = Fraction(0), None
    for missed in range(n):
        total += comb(n, missed) * epsilon**missed * (1 - epsilon) ** (n - missed)
        if total > wanted:
            break
        k = n - missed
    assert rank(n, hundredths / 100, delta) == k
    above = -((-(n + 1) * (100 - hundredths)) // 100)
    assert rank(n, hundredths / 100, None) == (above if above <= n else None)


@given(st.integers(1, 200_000), st.sampled_from([None, 0.01, 0.05, 0.3]))
@settings(max_examples=200, deadline=None)
def test_numbers_and_epsilons_are_inverse(n, delta):
    epsilon = smallest_epsilon(n, delta)
    assert rank(n, epsilon, delta) == n
    assert rank(n - 1, epsilon, delta) is None
    assert rank(n, epsilon * (1 - 1e-6), delta) is None
    assert patients_needed(epsilon, delta) == n


@given(st.integers(5, 500), st.floats(0.01, 0.4), st.floats(0.01, 0.4), st.sampled_from([None, 0.05]))
@settings(max_examples=100, deadline=None)
def test_a_smaller_epsilon_never_lowers_the_rank(n, one, other, delta):
    low, high = (rank(n, e, delta) or n + 1 for e in sorted((one, other)))
    assert low >= high
    assert (rank(n, one, 0.05) or n + 1) >= (rank(n, one, 0.1) or n + 1)


@pytest.mark.parametrize(("epsilon", "delta"), [(0, 0.05), (1, 0.05), (0.1, 0), (0.1, 1), (float("nan"), None)])
def test_impossible_shares_are_refused(epsilon, delta):
    for ask in (lambda: rank(10, epsilon, delta), lambda: patients_needed(epsilon, delta)):
        with pytest.raises(InputError, match="between 0 and 1"):
            ask()
    with pytest.raises(InputError):
        rank(-1, 0.1, None)


def test_a_patient_scores_the_largest_of_their_cases():
    """Ten patients; one has three flips with leads 0.1, 0.3 and 0.2."""
    fast = np.r_[[0.6, 0.8, 0.7], np.full(9, 0.9)]
    reference = np.r_[[0.4, 0.4, 0.4], np.full(9, 0.9)]
    units = np.r_[[0, 0, 0], np.arange(1, 10)]
    policy = GuardPolicy(epsilon=0.1, delta=None, by_class=False)
    band = fit_band(BINARY, NAMES, fast, reference, units, policy)
    assert (band.n_patients, band.overall.rank, band.overall.flips) == (10, 10, 1)
    assert band.value == pytest.approx(0.3)
    assert band.active
    assert (band.reason, band.note) == ("", "")
    strict = fit_band(BINARY, NAMES, fast, reference, units, policy.model_copy(update={"strict": True}))
    assert strict.value == pytest.approx(0.4)
    assert strict.overall.flips == 1


@given(st.integers(0, 10**6), st.booleans(), st.booleans())
@settings(max_examples=30, deadline=None)
def test_no_more_patients_slip_through_than_the_ranks_allow(seed, by_class, strict):
    fast, reference, units = noisy(seed)
    policy = GuardPolicy(epsilon=0.1, delta=0.1, by_class=by_class, strict=strict)
    band = fit_band(BINARY, NAMES, fast, reference, units, policy)
    if band.value is None:
        return
    slipped = (flip_margins(BINARY, fast, reference) > 0) & ~defers(BINARY, fast, band.value)
    called = BINARY.decisions(reference)
    for part, rows in zip((band.overall, *band.classes), (called >= 0, called == 0, called == 1)):
        assert np.unique(units[slipped & rows]).size <= part.n_patients - part.rank
    assert band.value == max(part.band for part in (band.overall, *band.classes))


@given(st.integers(0, 10**6), st.sampled_from([None, 0.05]), st.booleans())
@settings(max_examples=30, deadline=None)
def test_monotone_in_epsilon_and_strict_defers_more(seed, delta, by_class):
    fast, reference, units = noisy(seed)

    def value(epsilon, **more):
        policy = GuardPolicy(epsilon=epsilon, delta=delta, by_class=by_class, **more)
        found = fit_band(BINARY, NAMES, fast, reference, units, policy).value
        return np.inf if found is None else found

    bands = [value(epsilon) for epsilon in (0.01, 0.05, 0.1, 0.2, 0.4)]
    assert bands == sorted(bands, reverse=True)
    assert all(value(e, strict=True) >= b for e, b in zip((0.01, 0.05, 0.1, 0.2, 0.4), bands))


def test_by_class_holds_the_rare_class():
    """Flips only among the 5 % that the reference calls positive: the overall band is 0, theirs is not."""
    rng = np.random.default_rng(0)
    reference = np.r_[rng.uniform(0, 0.4, 1900), rng.uniform(0.55, 1, 100)]
    fast = reference.copy()
    fast[1900:1910] = np.linspace(0.3, 0.48, 10)
    units = np.arange(2000)
    alone = fit_band(BINARY, NAMES, fast, reference, units, GuardPolicy(epsilon=0.05, by_class=False))
    assert (alone.value, alone.active, alone.overall.flips) == (0.0, False, 10)
    assert "adds nothing" in alone.note
    assert alone.reason == ""
    both = fit_band(BINARY, NAMES, fast, reference, units, GuardPolicy(epsilon=0.05))
    negative, positive = both.classes
    assert (negative.name, negative.band, negative.flips) == ("negative", 0.0, 0)
    assert (positive.name, positive.n_patients, positive.flips) == ("positive", 100, 10)
    assert both.value == positive.band > 0.15
    assert both.note == ""


def test_multilabel_classes_have_margins_of_their_own():
    rule = Rule(Task.MULTILABEL, (0.5, 0.5))
    reference = np.array([[0.9, 0.9], [0.9, 0.1], [0.1, 0.1], [0.1, 0.9]])
    fast = np.array([[0.8, 0.1], [0.3, 0.2], [0.1, 0.1], [0.1, 0.9]])
    strata = stratify(rule, ("oedema", "effusion"), fast, reference, [0, 0, 1, 2], GuardPolicy())
    found = {s.name: (s.scores.tolist(), s.flips) for s in strata}
    assert found["oedema present"] == (pytest.approx([0.2]), 1)
    assert found["oedema absent"] == ([0, 0], 0)
    # Patient 0 has an effusion that is missed by 0.4 and, in the other case, none.
    assert found["effusion present"] == (pytest.approx([0.4, 0]), 1)
    assert found["effusion absent"] == ([0, 0], 0)
    assert found["all"] == (pytest.approx([0.4, 0, 0]), 1)


def test_too_few_patients_and_a_class_that_is_missing():
    reference, units = np.full(100, 0.1), np.arange(100)
    policy = GuardPolicy(epsilon=0.005)
    band = fit_band(BINARY, NAMES, reference, reference, units, policy)
    assert (band.value, band.active) == (None, False)
    assert isnan(band.smallest_epsilon)
    assert [part.n_patients for part in band.classes] == [100, 0]
    assert "100 of 598 needed, 100 of 598 needed in class negative, 0 of 598 needed in class positive" in band.reason
    chosen = fit_band(BINARY, NAMES, reference, reference, units, GuardPolicy(epsilon=None))
    assert chosen.value is None
    assert isnan(chosen.epsilon)
    assert "0 of 5 needed in class positive" in chosen.reason
    four = fit_band(
        BINARY, NAMES, np.repeat([0.1, 0.9], 4), np.repeat([0.1, 0.9], 4), range(8), GuardPolicy(epsilon=None)
    )
    assert four.value is None
    assert "4 of 5 needed in class negative" in four.reason
    lone = fit_band(BINARY, NAMES, [0.1], [0.1], [0], GuardPolicy(epsilon=None, delta=None, by_class=False))
    assert (lone.value, lone.overall.needed) == (None, 2)
    assert "1 of 2 needed" in lone.reason
    one = fit_band(BINARY, NAMES, [0.1, 0.9] * 2, [0.1, 0.9] * 2, range(4), GuardPolicy(epsilon=None, delta=None))
    assert one.epsilon == pytest.approx(1 / 3)


def test_the_smallest_epsilon_rests_on_the_rarest_class():
    fast, _, units = noisy(1, 400, several=False)
    reference = np.r_[np.full(340, 0.1), np.full(60, 0.9)]
    band = fit_band(BINARY, NAMES, fast, reference, units, GuardPolicy(epsilon=None))
    assert band.epsilon == band.smallest_epsilon == smallest_epsilon(60, 0.05) < 0.05
    assert [part.rank for part in band.classes] == [rank(340, band.epsilon, 0.05), 60]
    # Scores do not enter it.
    assert fit_band(BINARY, NAMES, reference, reference, units, GuardPolicy(epsilon=None)).epsilon == band.epsilon


def test_scores_that_are_not_finite_are_counted():
    fast, reference = np.full(100, 0.9), np.full(100, 0.9)
    fast[:7] = np.nan
    band = fit_band(BINARY, NAMES, fast, reference, np.arange(100), ON_AVERAGE)
    assert (band.value, band.overall.flips, band.not_finite) == (0.0, 0, 7)
    assert "7 fast scores were not finite" in band.note


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="empty"):
        fit_band(BINARY, NAMES, [], [], [], GuardPolicy())
    with pytest.raises(InputError, match="1 of 2 cases"):
        fit_band(BINARY, NAMES, [0.1, 0.2], [0.1, np.nan], [0, 1], GuardPolicy())
    with pytest.raises(InputError, match="clusters"):
        fit_band(BINARY, NAMES, [0.1, 0.2], [0.1, 0.3], [0], GuardPolicy())
    with pytest.raises(InputError, match="3 are named"):
        fit_band(BINARY, ("a", "b", "c"), [0.1, 0.2], [0.1, 0.3], [0, 1], GuardPolicy())


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("delta", [None, 0.1])
def test_coverage(delta, ties):
    """P(undetected flip) over 2000 draws, known exactly for each: s is 0 for 80 % of patients, else uniform on (0, 1)
    or, with ties, on ten values."""
    rng = np.random.default_rng(7)
    n, epsilon, runs = 120, 0.05, 2000
    scores = np.where(rng.random((runs, n)) < 0.8, 0.0, rng.random((runs, n)))
    scores = np.ceil(10 * scores) / 10 if ties else scores
    band = np.sort(scores, axis=1)[:, rank(n, epsilon, delta) - 1]
    missed = 0.2 * (1 - band)
    if delta is None:
        error = missed.std() / np.sqrt(runs)
        assert missed.mean() <= epsilon + 4 * error
        assert ties or missed.mean() >= (epsilon - 1 / (n + 1)) - 4 * error
    else:
        exceeded = int((missed > epsilon + 1e-9).sum())
        assert exceeded <= stats.binom.ppf(0.9999, runs, delta)
        # Not idle: a rank one lower would break it where no ties help.
        assert ties or (0.2 * (1 - np.sort(scores, axis=1)[:, rank(n, epsilon, delta) - 2]) > epsilon).mean() > delta
