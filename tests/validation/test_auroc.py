import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from primum.errors import InputError
from primum.validation.auroc import auroc_pair, same_ranking
from primum.validation.paired import auc_interval, auc_mover_logit_interval, delong


@st.composite
def two_markers(draw, levels=9):
    n = draw(st.integers(6, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    y = np.r_[0, 0, 1, 1, rng.integers(0, 2, n - 4)]
    a, b = rng.integers(0, levels, (2, n)) + y
    return y, a.astype(float), b.astype(float), rng


def brute_force(y, a, b):
    """DeLong's 1988 formulas, pair by pair."""
    kernel = [np.sign(np.subtract.outer(s[y == 1], s[y == 0])) / 2 + 0.5 for s in (a, b)]
    aucs = [k.mean() for k in kernel]
    m, n = kernel[0].shape
    s10 = np.cov([k.mean(axis=1) for k in kernel])
    s01 = np.cov([k.mean(axis=0) for k in kernel])
    return aucs, s10 / m + s01 / n


@given(two_markers())
@settings(max_examples=60, deadline=None)
def test_delong_against_pair_counting_and_sklearn(data):
    y, a, b, _ = data
    got = delong(y, a, b)
    aucs, covariance = brute_force(y, a, b)
    assert (got.auc_a, got.auc_b) == pytest.approx(aucs)
    assert (got.auc_a, got.auc_b) == pytest.approx((roc_auc_score(y, a), roc_auc_score(y, b)))
    assert np.array(got.covariance) == pytest.approx(covariance, abs=1e-12)


@given(two_markers())
@settings(max_examples=60, deadline=None)
def test_order_of_cases_and_of_markers(data):
    y, a, b, rng = data
    order = rng.permutation(y.size)
    one, shuffled, swapped = delong(y, a, b), delong(y[order], a[order], b[order]), delong(y, b, a)
    assert one.degenerate == shuffled.degenerate == swapped.degenerate
    assert one.difference == pytest.approx(shuffled.difference, abs=1e-12)
    assert one.standard_error == pytest.approx(shuffled.standard_error, abs=1e-12)
    first, second = auc_mover_logit_interval(y, a, b), auc_mover_logit_interval(y, b, a)
    if not one.degenerate:
        assert (first.lower, first.upper) == pytest.approx((-second.upper, -second.lower), abs=1e-9)
        assert -1 <= first.lower <= first.estimate <= first.upper <= 1


@given(two_markers())
@settings(max_examples=60, deadline=None)
def test_clusters_of_one_reduce_to_delong(data):
    y, a, b, rng = data
    plain, clustered = delong(y, a, b), delong(y, a, b, clusters=rng.permutation(y.size).astype(str))
    assert np.array(clustered.covariance) == pytest.approx(np.array(plain.covariance), abs=1e-14)


def test_repeated_cases_do_not_buy_precision():
    rng = np.random.default_rng(3)
    y = np.r_[np.ones(60, int), np.zeros(80, int)]
    a, b = rng.normal(size=(2, 140)) + y
    patients = np.arange(140)
    single = delong(y, a, b)
    tripled = [np.repeat(x, 3) for x in (y, a, b)]
    naive = delong(*tripled)
    robust = delong(*tripled, clusters=np.repeat(patients, 3))
    assert naive.standard_error < 0.65 * single.standard_error
    assert robust.standard_error == pytest.approx(single.standard_error, rel=1e-9)


@given(two_markers())
@settings(max_examples=40, deadline=None)
def test_clusters_against_obuchowskis_sums(data):
    """The formula of 1997, cluster by cluster, cross term included."""
    y, a, b, rng = data
    patients = rng.integers(0, max(3, y.size // 3), y.size)
    patients[:4] = [0, 1, 1, 2]
    m, n = (y == 1).sum(), (y == 0).sum()
    tenths, oneths, cross = np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 2))
    kernel = [np.sign(np.subtract.outer(s[y == 1], s[y == 0])) / 2 + 0.5 for s in (a, b)]
    for patient in np.unique(patients):
        rows, columns = patients[y == 1] == patient, patients[y == 0] == patient
        above = np.array([k[rows].mean(axis=1).sum() - rows.sum() * k.mean() for k in kernel])
        below = np.array([k[:, columns].mean(axis=0).sum() - columns.sum() * k.mean() for k in kernel])
        tenths, oneths = tenths + np.outer(above, above), oneths + np.outer(below, below)
        cross = cross + np.outer(above, below)
    i10, i01, i = (np.unique(p).size for p in (patients[y == 1], patients[y == 0], patients))
    covariance = i10 / (i10 - 1) * tenths / m**2 + i01 / (i01 - 1) * oneths / n**2
    covariance = covariance + i / (i - 1) * (cross + cross.T) / (m * n)
    assert np.array(delong(y, a, b, clusters=patients).covariance) == pytest.approx(covariance, abs=1e-12)


def test_clusters_against_a_patient_bootstrap():
    rng = np.random.default_rng(5)
    patients = rng.integers(0, 300, 1800)
    y = rng.integers(0, 2, 1800)
    score = y + 2 * rng.normal(size=300)[patients] + rng.normal(size=1800)
    draws = []
    for _ in range(200):
        times = np.bincount(rng.integers(0, 300, 300), minlength=300)
        rows = np.repeat(np.arange(1800), times[patients])
        draws.append(roc_auc_score(y[rows], score[rows]))
    error = np.sqrt(auroc_pair(y, score, score, patients).variance_a)
    assert error == pytest.approx(np.std(draws), rel=0.15)


def test_pairs_of_the_published_data(oracles):
    items, datasets = oracles
    data = {key: np.array(value) for key, value in datasets["aSAH"].items() if isinstance(value, list)}
    for second in ("s100b", "ndka"):
        item = items[f"open.delong.aSAH.wfns_{second}"]
        expected, tolerance = item["expected"], item["abs_tol"]
        got = delong(data["y"], data["wfns"], data[second])
        assert (got.auc_a, got.auc_b) == pytest.approx(expected["auc"], abs=tolerance)
        figures = (got.difference, got.standard_error, got.statistic, got.p_value, got.lower, got.upper)
        wanted = [expected[k] for k in ("diff", "se", "z", "p_two_sided")] + expected["ci95"]
        assert figures == pytest.approx(wanted, abs=tolerance)
        assert np.ravel(got.covariance) == pytest.approx(expected["cov"], abs=tolerance)
        item = items[f"open.auc_mover_logit.aSAH.wfns_{second}"]
        mover = auc_mover_logit_interval(data["y"], data["wfns"], data[second])
        bounds = [[mover.new.lower, mover.new.upper], [mover.reference.lower, mover.reference.upper]]
        assert np.array(bounds) == pytest.approx(np.array(item["expected"]["single_auc_logit_ci"]), abs=item["abs_tol"])
        assert (mover.lower, mover.upper) == pytest.approx(item["expected"]["ci95"], abs=item["abs_tol"])
    one = auc_interval(data["y"], data["ndka"])
    expected = items["open.auc_ci.aSAH.ndka_all"]["expected"]["lower_auc_upper"]
    assert (one.lower, one.estimate, one.upper) == pytest.approx(expected, abs=1e-9)


Y = np.array([0, 0, 0, 0, 1, 1, 1, 1])
MIXED = np.array([0.1, 0.6, 0.3, 0.4, 0.5, 0.2, 0.7, 0.8])


def test_identical_scores_are_degenerate():
    got = delong(Y, MIXED, MIXED)
    assert (got.statistic, got.p_value, got.standard_error, got.degenerate) == (0.0, 1.0, 0.0, True)
    assert np.isnan([got.lower, got.upper]).all()
    assert auc_mover_logit_interval(Y, MIXED, MIXED).degenerate


@pytest.mark.parametrize("perfect", [Y.astype(float), Y + MIXED / 10])
def test_perfect_auroc_is_degenerate(perfect):
    for first, second in ((perfect, MIXED), (MIXED, perfect), (perfect, Y + MIXED[::-1] / 10)):
        assert delong(Y, first, second).degenerate
        mover = auc_mover_logit_interval(Y, first, second)
        assert mover.degenerate
        assert np.isnan([mover.lower, mover.upper]).all()
        assert mover.reason


def test_one_class_is_degenerate():
    got = delong(np.ones(4, int), MIXED[:4], MIXED[4:])
    assert got.degenerate
    assert "one class" in got.reason
    assert np.isnan([got.lower, got.difference, got.p_value]).all()


def test_one_positive_is_degenerate():
    y = np.array([0, 0, 0, 0, 1])
    assert delong(y, MIXED[:5], MIXED[3:]).degenerate


def test_bad_input_is_refused():
    with pytest.raises(InputError):
        delong(Y, MIXED, MIXED[:3])
    with pytest.raises(InputError):
        delong(Y, MIXED, np.where(Y == 1, np.nan, MIXED))
    with pytest.raises(InputError):
        delong(Y + 1, MIXED, MIXED)


def test_same_ranking_minds_ties():
    assert same_ranking(np.array([0.1, 0.2, 0.2]), np.array([1.0, 5.0, 5.0]))
    assert not same_ranking(np.array([0.1, 0.2, 0.2]), np.array([1.0, 5.0, 5.1]))
