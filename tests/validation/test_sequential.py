"""The watched rate: a supermartingale by its own numbers, and by simulation never wrong more often than promised."""

from math import exp, inf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf, quad

from primum.errors import InputError
from primum.validation import sequential
from primum.validation.sequential import confidence_sequence, log_e_value

ALPHA = 0.05
RATES = (0.005, 0.02, 0.2, 0.6)


@given(st.sampled_from(RATES), st.floats(0, 1), st.integers(0, 300), st.integers(0, 5000))
def test_whatever_came_before_the_mean_of_the_next_factor_is_at_most_1_up_to_the_rate(rate, share, hits, misses):
    now = log_e_value(hits, hits + misses, rate)
    up = exp(log_e_value(hits + 1, hits + misses + 1, rate) - now)
    down = exp(log_e_value(hits, hits + misses + 1, rate) - now)
    p = share * rate
    assert p * up + (1 - p) * down <= 1 + 1e-9
    # Sharp: at the rate itself it is a martingale, and beyond it it grows.
    assert rate * up + (1 - rate) * down == pytest.approx(1, abs=1e-9)
    assert up > 1 > down


@pytest.mark.parametrize("rate", RATES)
def test_it_is_the_integral_that_it_says(rate):
    """By an integration of 40 digits, in places where the floats of the parts underflow too."""
    a, b = sequential._prior(rate)
    with mp.workdps(40):
        p0 = mpf(rate)
        for hits, trials in ((0, 0), (1, 1), (3, 100), (40, 1000), (0, 5000), (5, 40_000), (700, 1000)):

            def integrand(q, h=hits, n=trials):
                return (q / p0) ** h * ((1 - q) / (1 - p0)) ** (n - h) * q ** (a - 1) * (1 - q) ** (b - 1)

            peak = max(hits / max(trials, 1), rate)
            width = (peak * (1 - peak) / max(trials, 1)) ** 0.5
            cuts = sorted({p0, mpf(1), *(mpf(peak + k * width) for k in (-4, 0.01, 0.1, 1, 4, 20, 100))})
            cuts = [cut for cut in cuts if p0 <= cut <= 1]
            tail = quad(lambda q: q ** (a - 1) * (1 - q) ** (b - 1), [p0, (1 + p0) / 2, 1])
            expected = float(mp.log(quad(integrand, cuts) / tail))
            assert log_e_value(hits, trials, rate) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_both_ways_of_the_tail_are_one(monkeypatch):
    usual = [log_e_value(k, n, 0.02) for k, n in ((0, 5000), (10, 5000), (60, 9000))]
    monkeypatch.setattr(sequential, "_UNDERFLOW", inf)
    assert [log_e_value(k, n, 0.02) for k, n in ((0, 5000), (10, 5000), (60, 9000))] == pytest.approx(usual, rel=1e-10)
    assert -20 < log_e_value(500, 10_000_000, 0.02) < -10


@pytest.mark.parametrize("rate", (0.005, 0.02))
def test_at_the_rate_itself_it_ever_crosses_no_more_often_than_alpha(rate):
    """Streams of 50,000 cases, looked at after every one: E rises on a success alone, so those are enough."""
    rng, streams, length = np.random.default_rng(3), 400, 50_000
    crossed = sum(_first_crossing(rng.random(length) < rate, rate) < length for _ in range(streams))
    assert crossed <= streams * ALPHA + 3 * (streams * ALPHA * (1 - ALPHA)) ** 0.5
    # And it is not blunt: more than a tenth of what is allowed.
    assert crossed >= streams * ALPHA / 10


@pytest.mark.parametrize("rate", (0.005, 0.02))
def test_five_times_the_rate_is_found_within_a_few_hundred_cases(rate):
    rng = np.random.default_rng(4)
    when = np.array([_first_crossing(rng.random(20_000) < 5 * rate, rate) for _ in range(100)])
    assert np.median(when) < 1.2 / rate and np.quantile(when, 0.9) < 4 / rate


@pytest.mark.parametrize("p", (0.0, 0.003, 0.05, 0.5))
def test_the_bounds_hold_the_truth_at_all_times_at_once(p):
    """Looked at after 300 numbers of cases, ever further apart: neighbours differ by less than the bounds' width."""
    rng, streams, length = np.random.default_rng(5), 200, 20_000
    looks = np.unique(np.geomspace(1, length, 300).astype(int))
    missed = 0
    for _ in range(streams):
        hits = np.cumsum(rng.random(length) < p)
        inside = [_inside(int(hits[n - 1]), int(n), p) for n in looks]
        missed += not all(inside)
    assert missed <= streams * ALPHA + 3 * (streams * ALPHA * (1 - ALPHA)) ** 0.5


@given(st.integers(1, 3000), st.data())
def test_the_bounds_are_where_the_mixture_is_20_times_as_likely(trials, data):
    hits = data.draw(st.integers(0, trials))
    found = confidence_sequence(hits, trials, ALPHA)
    assert 0 <= found.lower <= found.estimate <= found.upper <= 1
    for bound, is_end in ((found.lower, hits == 0), (found.upper, hits == trials)):
        if is_end:
            assert bound in (0.0, 1.0)
        else:
            assert _log_mixture(hits, trials) - _log_likelihood(hits, trials, bound) == pytest.approx(
                log(1 / ALPHA), abs=1e-4
            )


def test_before_the_first_case_nothing_is_known():
    found = confidence_sequence(0, 0)
    assert (found.lower, found.upper) == (0.0, 1.0) and np.isnan(found.estimate)
    assert log_e_value(0, 0, 0.02) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("bad", [(2, 1, 0.1), (-1, 1, 0.1), (0, 1, 0.0), (0, 1, 1.0)])
def test_counts_and_levels_out_of_range_are_refused(bad):
    with pytest.raises(InputError):
        log_e_value(*bad)
    with pytest.raises(InputError):
        confidence_sequence(*bad)


def _first_crossing(stream, rate):
    """Cases until E reaches 1/alpha; the length of the stream where it never does."""
    for hits, place in enumerate(np.flatnonzero(stream), 1):
        if log_e_value(hits, int(place) + 1, rate) >= log(1 / ALPHA):
            return int(place) + 1
    return len(stream)


def _inside(hits, trials, p):
    found = confidence_sequence(hits, trials, ALPHA)
    return found.lower <= p <= found.upper


def _log_mixture(hits, trials):
    """The mean likelihood over Beta(1/2, 1/2), as a product of predictive chances (Krichevsky and Trofimov 1981)."""
    odds = [(k + 0.5) / (k + 1) for k in range(hits)] + [(k + 0.5) / (hits + k + 1) for k in range(trials - hits)]
    return float(np.log(odds).sum())


def _log_likelihood(hits, trials, p):
    return hits * np.log(p) + (trials - hits) * np.log1p(-p)
