import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.special import xlogy

from primum.errors import InputError
from primum.validation.proportions import wilson_interval, wilson_interval_at
from primum.validation.shares import paired_ratio, ratio_interval, ratio_interval_at, ratio_z, share_interval

counts = st.integers(0, 40)


def test_one_case_a_patient_is_wilson():
    got = share_interval([True] * 8 + [False] * 2, np.arange(10))
    assert (got.estimate, got.lower, got.upper) == pytest.approx((0.8, 0.490162, 0.943318), abs=1e-6)
    with pytest.raises(InputError):
        share_interval([], [])


def test_repeating_every_case_of_a_patient_adds_nothing():
    rng = np.random.default_rng(0)
    hits = rng.random(200) < 0.7
    once = share_interval(hits, np.arange(200))
    five = share_interval(np.repeat(hits, 5), np.repeat(np.arange(200), 5))
    assert (five.lower, five.upper) == pytest.approx((once.lower, once.upper), abs=1e-3)


def test_without_a_miss_patients_are_counted_not_cases():
    got = share_interval(np.ones(100, bool), np.repeat(np.arange(10), 10))
    assert got.estimate == got.upper == 1
    assert got.lower == pytest.approx(wilson_interval_at(10, 10, stats.t.ppf(0.975, 9), 0.95).lower)
    assert got.lower < wilson_interval(10, 10).lower


def test_a_patient_with_many_misses_is_not_diluted():
    hits = np.ones(1000, bool)
    hits[:50] = False
    got = share_interval(hits, np.repeat(np.arange(20), 50))
    assert got.estimate == 0.95
    assert got.lower <= wilson_interval(19, 20).lower
    assert got.lower < share_interval(hits, np.arange(1000)).lower


def test_few_misses_leave_no_more_than_the_patients():
    hits = np.ones(1000, bool)
    hits[3] = False
    got = share_interval(hits, np.repeat(np.arange(20), 50))
    assert got.estimate == 0.999 and got.upper > 0.999
    assert wilson_interval(19, 20).lower < got.lower < wilson_interval(20, 20).lower


def test_patients_of_one_or_two_cases_keep_their_power():
    units = np.repeat(np.arange(800), np.repeat([1, 2, 6], [500, 270, 30]))
    hits = np.ones(units.size, bool)
    hits[::200] = False
    got = share_interval(hits, units)
    patients = wilson_interval(800 * got.estimate, 800)
    assert got.estimate - got.lower < 1.25 * (patients.estimate - patients.lower)


@given(counts, counts, counts, counts, st.floats(0.5, 2.0))
@settings(max_examples=80, deadline=None)
def test_ratio_statistic_uses_the_constrained_maximum_likelihood(a, b, c, d, theta):
    assume(min(a, b, c) > 0 and d > 0 and abs(theta - 1) > 1e-3)
    n = a + b + c + d

    # H0: p_first = theta p_second, that is p11 = (p10 - theta p01)/(theta - 1); p10 and p01 are profiled over.
    def cells(q01, q11):
        q10 = (theta - 1) * q11 + theta * q01
        return q11, q10, q01, 1 - q11 - q10 - q01

    def loss(q01, q11):
        q = np.array(cells(q01, q11))
        return 1e9 if (q <= 0).any() else -float(xlogy([a, b, c, d], q).sum())

    def best(q11):
        low = max(0.0, (1 - theta) * q11 / theta)
        high = (1 - theta * q11) / (1 + theta)
        if high <= low:
            return 1e9, low
        found = minimize_scalar(loss, args=(q11,), bounds=(low, high), method="bounded", options={"xatol": 1e-12})
        return found.fun, found.x

    outer = minimize_scalar(
        lambda q: best(q)[0], bounds=(0, min(1, 1 / theta)), method="bounded", options={"xatol": 1e-12}
    )
    q01 = best(outer.x)[1]
    q10 = cells(q01, outer.x)[1]
    expected = ((a + b) - theta * (a + c)) / n / np.sqrt(theta * (q10 + q01) / n)
    assert ratio_z(a, b, c, d, theta) == pytest.approx(expected, rel=2e-3, abs=2e-3)


@given(counts, counts, counts, counts)
@settings(max_examples=100, deadline=None)
def test_ratio_bounds_solve_the_score_equation(a, b, c, d):
    assume(a + b > 0 and a + c > 0)
    got = ratio_interval(a, b, c, d)
    assert 0 <= got.lower <= got.estimate <= got.upper
    for bound, sign in ((got.lower, 1), (got.upper, -1)):
        if 1e-9 < bound < 1e9:
            assert ratio_z(a, b, c, d, bound) == pytest.approx(sign * 1.959964, abs=1e-4)
    mirrored = ratio_interval(a, c, b, d)
    if got.lower > 0:
        assert mirrored.upper == pytest.approx(1 / got.lower, rel=1e-5)


def test_ratio_without_discordance_is_not_a_point():
    got = ratio_interval(200, 0, 0, 0)
    assert got.lower < 0.99 < 1 < got.upper
    assert ratio_interval(20000, 0, 0, 0).lower > got.lower
    assert np.isnan(ratio_interval(0, 3, 0, 4).estimate)


def test_paired_ratio_by_patient():
    first, second = np.array([True, True, False, True]), np.array([True, False, True, True])
    assert paired_ratio(first, second, np.arange(4)) == ratio_interval(2, 1, 1, 0)
    alike = np.ones(400, bool)
    pairs = paired_ratio(alike, alike, np.repeat(np.arange(200), 2))
    assert pairs == ratio_interval_at((200, 0, 0, 0), stats.t.ppf(0.975, 199), 0.95)
    lost = alike.copy()
    lost[:40] = False  # twenty patients, both cases each
    by_patient, by_case = (paired_ratio(lost, alike, units) for units in (np.repeat(np.arange(200), 2), np.arange(400)))
    assert by_patient.estimate == pytest.approx(by_case.estimate) == 0.9
    assert by_patient.lower < by_case.lower
    one = alike.copy()
    one[7] = False
    found = paired_ratio(one, alike, np.repeat(np.arange(200), 2))
    assert found == ratio_interval_at((199.5, 0, 0.5, 0), stats.t.ppf(0.975, 199), 0.95)
