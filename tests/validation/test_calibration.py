import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.metrics import brier_score_loss

from primum.errors import InputError
from primum.validation.calibration import (
    CURVE_BINS,
    calibrate,
    compare_calibration,
    expected_calibration_error,
    reliability_curve,
    spiegelhalter,
)
from primum.validation.views import View


def sample(n, seed=0, slope=1.0, shift=0.0):
    """Scores whose true logits are shift + slope * logit(score)."""
    rng = np.random.default_rng(seed)
    p = expit(rng.normal(0, 1.5, n))
    return (rng.random(n) < expit(shift + slope * logit(p))).astype(int), p


def view_of(labels, reference, candidate):
    calls = [np.where(np.isfinite(s), np.nan_to_num(s) >= 0.5, -1).astype(int) for s in (reference, candidate)]
    return View("", np.arange(labels.size), labels, reference, candidate, *calls)


def test_published_examples(oracles):
    items, _ = oracles
    ece = items["open.ece.torchmetrics_binary"]
    got = expected_calibration_error(ece["inputs"]["y"], ece["inputs"]["p"], ece["inputs"]["n_bins"])
    assert got == pytest.approx(ece["expected"]["l1"], abs=ece["abs_tol"])
    mapie = items["open.spiegelhalter.mapie"]
    z = spiegelhalter(mapie["inputs"]["y"], mapie["inputs"]["p"]).statistic
    assert z == pytest.approx(mapie["expected"]["z_full"], abs=1e-6)
    brier = items["open.brier.sklearn"]
    got = calibrate(brier["inputs"]["y"], brier["inputs"]["p"]).brier
    assert got == pytest.approx(brier["expected"]["brier"], abs=brier["abs_tol"])


def test_subarachnoid_haemorrhage_by_r(oracles):
    items, data = oracles
    expected, table = items["open.calibration.aSAH.wfns"]["expected"], data["aSAH"]
    labels = np.array(table["y"])
    wfns = np.array(table["wfns"], dtype=float)
    got = calibrate(labels, expit(-4 + 1.1 * wfns))
    assert got.slope == pytest.approx(expected["slope"], abs=1e-6)
    assert got.slope_error == pytest.approx(expected["slope_se"], abs=1e-6)
    assert got.intercept == pytest.approx(expected["citl"], abs=1e-6)
    assert got.intercept_error == pytest.approx(expected["citl_se"], abs=1e-6)
    assert got.brier == pytest.approx(expected["brier"], abs=1e-6)
    assert got.spiegelhalter.statistic == pytest.approx(expected["spiegelhalter_z"], abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_slope_and_intercept_agree_with_statsmodels(seed):
    labels, p = sample(300, seed, slope=0.6, shift=-0.5)
    got = calibrate(labels, p)
    x = logit(p)
    slope = sm.GLM(labels, sm.add_constant(x), family=sm.families.Binomial()).fit(tol=1e-14)
    large = sm.GLM(labels, np.ones((300, 1)), family=sm.families.Binomial(), offset=x).fit(tol=1e-14)
    assert got.slope == pytest.approx(slope.params[1], abs=1e-8)
    assert got.slope_error == pytest.approx(slope.bse[1], rel=1e-6)
    assert got.intercept == pytest.approx(large.params[0], abs=1e-8)
    assert got.intercept_error == pytest.approx(large.bse[0], rel=1e-6)
    assert got.brier == pytest.approx(brier_score_loss(labels, p))


def test_errors_are_by_patient_where_patients_repeat():
    labels, p = sample(120, 3)
    units = np.repeat(np.arange(40), 3)
    thrice = calibrate(np.repeat(labels[:40], 3), np.repeat(p[:40], 3), units)
    once = calibrate(labels[:40], p[:40], np.arange(40))
    assert thrice.slope == pytest.approx(once.slope, abs=1e-8)
    x = logit(p)
    fit = sm.GLM(labels, sm.add_constant(x), family=sm.families.Binomial()).fit(
        tol=1e-14, cov_type="cluster", cov_kwds={"groups": units, "use_correction": False}
    )
    assert calibrate(labels, p, units).slope_error == pytest.approx(fit.bse[1] * np.sqrt(40 / 39), rel=1e-6)


@pytest.mark.parametrize(
    ("labels", "scores", "why"),
    [
        ([1, 1, 1], [0.2, 0.6, 0.9], "one class"),
        ([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.9], "separate"),
        ([1, 1, 0, 0], [0.1, 0.2, 0.3, 0.9], "separate"),
        ([0, 1, 0, 1], [0.3, 0.3, 0.3, 0.3], "equal"),
    ],
)
def test_what_has_no_finite_slope_says_why(labels, scores, why):
    got = calibrate(labels, scores)
    assert np.isnan(got.slope) and why in got.reason
    assert np.isfinite(got.brier) and np.isfinite(got.ece)
    assert np.isnan(got.intercept) == (len(set(labels)) == 1)


def test_scores_of_0_and_1_are_clipped_and_counted():
    labels, p = sample(200, 1)
    p[:3], p[3] = 1.0, 0.0
    got = calibrate(labels, p)
    assert got.clipped == 4 and np.isfinite(got.slope)
    fine = calibrate(labels[4:], p[4:])
    assert fine.clipped == 0 and fine.slope != got.slope


def test_scores_not_finite_are_left_out_and_counted():
    labels, p = sample(100, 1)
    broken = p.copy()
    broken[10], broken[20] = np.nan, np.inf
    kept = np.setdiff1d(np.arange(100), [10, 20])
    got, clean = calibrate(labels, broken), calibrate(labels[kept], p[kept])
    assert (got.left_out, got.n) == (2, 98)
    assert (got.slope, got.ece) == (clean.slope, clean.ece)
    none = calibrate([0, 1], [np.nan, np.nan])
    assert none.n == 0 and np.isnan(none.brier) and none.reason
    with pytest.raises(InputError):
        calibrate([], [])


def test_ece_of_a_calibrated_model_is_far_above_zero_with_few_cases():
    rng = np.random.default_rng(0)
    found = {}
    for n in (100, 2000):
        p = rng.beta(0.5, 2, n)
        got = calibrate((rng.random(n) < p).astype(int), p)
        found[n] = got.ece_expected
        assert got.ece_expected < got.ece_expected_upper < 3 * got.ece_expected
    assert found[100] == pytest.approx(0.094, abs=0.02)
    assert found[2000] == pytest.approx(0.021, abs=0.004)


def test_ece_bins_close_on_the_left():
    # 0.5 belongs to the upper bin, 1 to a bin of its own: three bins, each off by its own gap.
    assert expected_calibration_error([0, 1, 1], [0.4, 0.5, 1.0], 2) == pytest.approx((0.4 + 0.5 + 0.0) / 3)


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_curve_holds_every_case_once(pairs):
    labels, scores = (np.array(column) for column in zip(*pairs))
    curve = reliability_curve(labels, scores.astype(float), np.arange(labels.size))
    assert sum(part.n for part in curve) == labels.size and len(curve) <= CURVE_BINS
    assert sum(part.n * part.observed for part in curve) == pytest.approx(labels.sum())
    assert all(part.lower <= part.observed <= part.upper for part in curve)
    means = [part.predicted for part in curve]
    assert means == sorted(means)


def test_equal_scores_share_a_bin():
    curve = reliability_curve(np.r_[np.ones(30), np.zeros(30)].astype(int), np.full(60, 0.3), np.arange(60))
    assert [(part.n, part.observed) for part in curve] == [(60, 0.5)]


def test_paired_differences_have_honest_intervals():
    labels, p = sample(800, 5)
    sharper = expit(1.6 * logit(p))
    pair = compare_calibration(view_of(labels, p, sharper), np.arange(800))
    # Scores that are 1.6 times as extreme have exactly 1/1.6 of the slope, on every resample.
    assert pair.slope_difference.estimate == pytest.approx(pair.reference.slope * (1 / 1.6 - 1), abs=1e-9)
    assert pair.slope_difference.lower < pair.slope_difference.estimate < pair.slope_difference.upper < 0
    assert pair.ece_difference.lower > 0
    again = compare_calibration(view_of(labels, p, sharper), np.arange(800))
    assert again == pair
    same = compare_calibration(view_of(labels, p, p), np.arange(800))
    assert (same.slope_difference.lower, same.slope_difference.upper) == (0, 0)


def test_resamples_are_of_patients():
    labels, p = sample(100, 6)
    rng = np.random.default_rng(0)
    noisy = np.clip(p + rng.normal(0, 0.05, 100), 0.01, 0.99)
    once = compare_calibration(view_of(labels, p, noisy), np.arange(100))
    tenfold = [np.repeat(column, 10) for column in (labels, p, noisy)]
    as_cases = compare_calibration(view_of(*tenfold), np.arange(1000)).ece_difference
    by_patient = compare_calibration(view_of(*tenfold), np.repeat(np.arange(100), 10)).ece_difference
    width = once.ece_difference.upper - once.ece_difference.lower
    assert by_patient.upper - by_patient.lower == pytest.approx(width, rel=0.05)
    assert as_cases.upper - as_cases.lower < 0.6 * width


def test_a_bootstrap_that_cannot_be_says_so():
    labels = np.array([0, 0, 0, 1, 0, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.25, 0.5, 0.9])
    pair = compare_calibration(view_of(labels, scores, scores**2), np.arange(6))
    assert np.isnan(pair.slope_difference.lower) and "resamples" in pair.reason
    one = compare_calibration(view_of(labels, scores, scores**2), np.zeros(6))
    assert np.isnan(one.ece_difference.lower) and "two patients" in one.reason
