import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from primum.config import ClinicalPolicy, Margins
from primum.errors import InputError
from primum.validation.auroc import auroc_pair, mover_from_pair, same_ranking, score_interval
from primum.validation.paired import auc_interval, auc_mover_logit_interval, delong
from primum.validation.scores import judge_auroc
from primum.validation.verdict import Outcome


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


def test_scaling_narrows_towards_the_estimate():
    pair = auroc_pair(Y, MIXED, MIXED[::-1])
    widths = [mover_from_pair(pair, 0.95, k) for k in (1, 4, 100, 10_000)]
    lowers = [w.estimate - w.lower for w in widths]
    assert lowers == sorted(lowers, reverse=True)
    assert lowers[-1] < 0.02


def test_same_ranking_minds_ties():
    assert same_ranking(np.array([0.1, 0.2, 0.2]), np.array([1.0, 5.0, 5.0]))
    assert not same_ranking(np.array([0.1, 0.2, 0.2]), np.array([1.0, 5.0, 5.1]))


def test_high_auroc_type_one_error():
    """Binormal, AUROC 0.95 against 0.93, margin 0.02: MOVER-logit keeps its level where DeLong does not."""
    rng = np.random.default_rng(11)
    means = 2.3262, 2.0872  # sqrt(2) * probit(0.95), sqrt(2) * probit(0.93)
    y = np.r_[np.ones(20, int), np.zeros(100, int)]
    passed = np.zeros(2)
    for _ in range(400):
        shared = rng.normal(size=120)
        ref, new = (0.95 * shared + 0.3122 * rng.normal(size=120) + mean * y for mean in means)
        passed += (
            auc_mover_logit_interval(y, new, ref).lower > -0.02,
            delong(y, new, ref).lower > -0.02,
        )
    assert passed[0] / 400 <= 0.045
    assert passed[1] > passed[0]


def weak_pair(seed, m=50, n=500, correlation=0.5, means=(3.29, 2.9)):
    """Binormal scores of two hardly correlated models: reference AUROC 0.99, candidate 0.98."""
    rng = np.random.default_rng(seed)
    y = np.r_[np.ones(m, int), np.zeros(n, int)]
    one, other = rng.normal(size=(2, m + n))
    return y, correlation * one + np.sqrt(1 - correlation**2) * other + means[1] * y, one + means[0] * y


@pytest.mark.parametrize("seed", range(4))
def test_score_bounds_solve_their_equation(seed):
    pair = auroc_pair(*weak_pair(seed))
    got = score_interval(pair, 50)
    t = stats.t.ppf(0.975, 49)
    assert got.lower < got.estimate == pair.auc_a - pair.auc_b < got.upper
    for bound in (got.lower, got.upper):
        at = pair.auc_b + bound
        if 0 < at < 1:
            ratio = at * (1 - at) / (pair.auc_a * (1 - pair.auc_a))
            variance = pair.variance_a * ratio + pair.variance_b - 2 * pair.covariance * np.sqrt(ratio)
            assert abs(got.estimate - bound) == pytest.approx(t * np.sqrt(variance), rel=1e-6)
    as_if = score_interval(pair, 50, scale=4.0)
    assert as_if.lower > got.lower


def test_score_interval_is_delongs_where_nothing_moves():
    """Two like AUROCs far from 1 with many cases: the null changes no variance."""
    y, new, ref = weak_pair(1, 4000, 4000, 0.9, (0.5, 0.5))
    got, plain = score_interval(auroc_pair(y, new, ref), 4000), delong(y, new, ref)
    assert (got.lower, got.upper) == pytest.approx((plain.lower, plain.upper), abs=1e-4)


def test_score_interval_of_nothing():
    one_class = auroc_pair([1, 1, 1], [0.1, 0.2, 0.3], [0.1, 0.3, 0.2])
    assert np.isnan(score_interval(one_class, 0).lower)


def test_hardly_correlated_models_type_one_error():
    """AUROC 0.99 against 0.98, margin 0.01, correlation 0.5, 50 positives: MOVER-logit alone passes in 6 %."""
    policy, passed = ClinicalPolicy(margins=Margins(auroc=0.01)), np.zeros(2)
    means = np.sqrt(2) * stats.norm.ppf([0.99, 0.98])
    for seed in range(600):
        y, new, ref = weak_pair(seed, means=means)
        part = judge_auroc(y, expit(ref), expit(new), np.arange(550), policy)
        passed += part.outcome is Outcome.NON_INFERIOR, part.beside["mover_lower"] > -0.01
    assert passed[0] / 600 <= 0.04 < passed[1] / 600


def test_highly_correlated_models_are_decided_by_mover_logit():
    """What an optimized model is: the score bound is the inner one, and costs nothing."""
    rng = np.random.default_rng(2)
    y = np.r_[np.ones(100, int), np.zeros(500, int)]
    ref = rng.normal(size=600) + 2.3 * y
    new = ref + 0.15 * rng.normal(size=600)
    part = judge_auroc(y, expit(ref), expit(new), np.arange(600), ClinicalPolicy())
    assert part.lower == part.beside["mover_lower"] < part.beside["score_lower"]
    assert "MOVER-logit and score interval" in part.method


def test_wider_bounds_of_both_and_the_cases_that_would_decide():
    y, new, ref = weak_pair(0, means=(3.29, 3.29))
    policy = ClinicalPolicy(margins=Margins(auroc=0.005))
    part = judge_auroc(y, expit(ref), expit(new), np.arange(550), policy)
    pair = auroc_pair(y, expit(new), expit(ref))
    both = mover_from_pair(pair), score_interval(pair, 50)
    assert part.lower == min(found.lower for found in both) and part.upper == max(found.upper for found in both)
    assert part.lower == both[1].lower and part.outcome is Outcome.INCONCLUSIVE
    for n, passes in ((part.n_would_decide, True), (part.n_would_decide - 1, False)):
        scaled = mover_from_pair(pair, 0.95, n / 550), score_interval(pair, 50, 0.95, n / 550)
        assert (min(found.lower for found in scaled) > -0.005) is passes
