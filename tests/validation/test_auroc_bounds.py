import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from primum.config import ClinicalPolicy, Margins
from primum.validation.auroc import auroc_pair, delong
from primum.validation.auroc_bounds import (
    auc_mover_logit_interval,
    mover_from_pair,
    presumed,
    score_interval,
    skewed_interval,
)
from primum.validation.means import skewed_mean_interval
from primum.validation.scores import judge_auroc
from primum.validation.unseen import UnseenLoss
from primum.validation.verdict import Outcome

Y = np.array([0, 0, 0, 0, 1, 1, 1, 1])
MIXED = np.array([0.1, 0.6, 0.3, 0.4, 0.5, 0.2, 0.7, 0.8])


def test_scaling_narrows_towards_the_estimate():
    pair = auroc_pair(Y, MIXED, MIXED[::-1])
    widths = [mover_from_pair(pair, 0.95, k) for k in (1, 4, 100, 10_000)]
    lowers = [w.estimate - w.lower for w in widths]
    assert lowers == sorted(lowers, reverse=True)
    assert lowers[-1] < 0.02


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
    held = part.beside
    assert held["seen_lower"] == held["mover_lower"] < held["score_lower"]
    assert part.lower == min(held["seen_lower"], held["unseen_lower"])
    assert "MOVER-logit and score interval" in part.method


def test_wider_bounds_of_both_and_the_cases_that_would_decide():
    y, new, ref = weak_pair(0, means=(3.29, 3.29))
    policy = ClinicalPolicy(margins=Margins(auroc=0.005))
    part = judge_auroc(y, expit(ref), expit(new), np.arange(550), policy)
    pair = auroc_pair(y, expit(new), expit(ref))
    both = mover_from_pair(pair), score_interval(pair, 50)
    unseen = UnseenLoss.of_ranking(pair, y, np.arange(550), 0.95)
    seen = part.beside["seen_lower"]
    assert seen == min(found.lower for found in both) and part.upper == max(found.upper for found in both)
    assert seen == both[1].lower and part.outcome is Outcome.INCONCLUSIVE
    assert part.lower == unseen.lower() < seen
    for n, passes in ((part.n_would_decide, True), (part.n_would_decide - 1, False)):
        scaled = mover_from_pair(pair, 0.95, n / 550), score_interval(pair, 50, 0.95, n / 550)
        assert (min(unseen.lower(50 * n / 550), *(found.lower for found in scaled)) > -0.005) is passes


def distorted(rng, patients, each, share, noise=0.02):
    """Scores of patients who each have cases of both kinds; of a share of them the candidate's say little."""
    units = np.repeat(np.arange(patients), each)
    y = (rng.random(units.size) < 0.5).astype(int)
    ref = rng.normal(size=units.size) + 2 * y
    hit = (rng.random(patients) < share)[units]
    return units, y, ref, np.where(hit, rng.normal(size=units.size) + 1, ref + rng.normal(0, noise, units.size))


def area_of(share):
    """The candidate's AUROC of `distorted`, without noise."""
    apart, half = stats.norm.cdf(np.sqrt([2.0, 0.5]))
    return (1 - share) ** 2 * apart + 2 * share * (1 - share) * half + share**2 / 2


@pytest.mark.parametrize(("patients", "each", "share"), [(40, 5, 0.1), (40, 20, 0.1), (100, 20, 0.05), (20, 5, 0.4)])
def test_patients_who_are_distorted_do_not_pass_too_often(patients, each, share):
    """AUROC lower by exactly its margin in a few whole patients; by MOVER and score bounds alone up to 10 % pass."""
    rng, runs, passed = np.random.default_rng(4), 300, np.zeros(2)
    margin = area_of(0) - area_of(share)
    policy = ClinicalPolicy(margins=Margins(auroc=margin))
    for _ in range(runs):
        units, y, ref, new = distorted(rng, patients, each, share)
        part = judge_auroc(y, expit(ref), expit(new), units, policy)
        pair = auroc_pair(y, new, ref, units)
        plain = mover_from_pair(pair).lower, score_interval(pair, patients).lower
        passed += part.outcome is Outcome.NON_INFERIOR, min(plain) > -margin
    assert passed[0] / runs <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / runs) and passed[0] < passed[1]


def test_skewed_interval_is_that_of_a_mean():
    """Of what each patient adds: the same figures as a mean give the same bounds."""
    rng = np.random.default_rng(7)
    units, y, ref, new = distorted(rng, 60, 4, 0.1)
    pair = auroc_pair(y, new, ref, units)
    found = skewed_interval(pair, 60)
    assert found.lower < found.estimate - stats.t.ppf(0.975, 59) * np.sqrt(pair.variance), "a few lose much"
    tall = skewed_interval(pair, 60, scale=9.0)
    assert found.lower < tall.lower < found.estimate < tall.upper
    gains = rng.exponential(size=40) - 1.2
    spread = np.sqrt(np.mean((gains - gains.mean()) ** 2) / 39)
    values = gains - gains.mean()
    like = type(pair)(gains.mean(), 0.0, 1.0, 1.0, 0.0, spread**2, np.mean(values**3) / np.mean(values**2) ** 1.5, 40)
    mean = skewed_mean_interval(gains)
    bound = skewed_interval(like, 40)
    assert min(bound.lower, mean.lower) == pytest.approx(mean.lower) and bound.upper <= mean.upper + 1e-12


def test_presumed_never_narrows_and_leaves_cases_of_one_patient_each():
    units, y, ref, new = distorted(np.random.default_rng(2), 40, 5, 0.2)
    pair, alone = auroc_pair(y, new, ref, units), auroc_pair(y, new, ref)
    found, worth = presumed(pair, alone, y, units)
    assert found.variance >= max(pair.variance, alone.variance) and worth <= 40
    assert found.variance == pytest.approx(found.variance_a + found.variance_b - 2 * found.covariance)
    same, count = presumed(alone, alone, y, np.arange(y.size))
    assert same.variance == alone.variance and count == min(y.sum(), (1 - y).sum())
