import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from primum.validation.ordinal import farthest_if_none, kappa_difference, ranked_probability_losses


def graded(n=60, grades=5, seed=0, share=0.3):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, grades, n)
    reference = np.clip(labels + rng.integers(-1, 2, n), 0, grades - 1)
    candidate = np.where(rng.random(n) < share, np.clip(reference + rng.integers(-2, 3, n), 0, grades - 1), reference)
    return labels, reference, candidate


def test_parity_with_sklearn_and_a_plain_jackknife():
    labels, ref, new = graded()
    patients = np.arange(60) // 3
    got = kappa_difference(labels, ref, new, 5, clusters=patients)

    def gap(rows):
        before, after = (cohen_kappa_score(labels[rows], d[rows], weights="quadratic") for d in (ref, new))
        return after - before

    assert got.reference == pytest.approx(cohen_kappa_score(labels, ref, weights="quadratic"))
    assert got.estimate == pytest.approx(gap(slice(None)))
    without = np.array([gap(patients != g) for g in range(20)])
    error = np.sqrt(19 / 20 * np.sum((without - without.mean()) ** 2))
    assert (got.standard_error, got.degrees_of_freedom) == pytest.approx((error, 19))
    extra = stats.norm.ppf(0.975) ** 2 * np.abs(without - without.mean()).max() / 2
    half = extra + np.hypot(stats.t.ppf(0.975, 19) * error, extra)
    assert (got.lower, got.upper) == pytest.approx((got.estimate - half, got.estimate + half))


def test_widening_vanishes_with_many_patients():
    got = kappa_difference(*graded(20000), 5)
    assert (got.estimate - got.lower) / (1.96 * got.standard_error) == pytest.approx(1, abs=0.06)


def test_type_one_error_holds_where_few_decisions_change():
    """A difference exactly at the margin: t alone passes 6 % of the time, 2.5 % may."""
    rng = np.random.default_rng(3)
    y = rng.choice(5, 100_000, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    r = np.clip(y + rng.choice([-1, 0, 1], y.size, p=[0.1, 0.8, 0.1]), 0, 4)
    d = np.where(rng.random(y.size) < 0.059, np.where(r < 4, r + 1, 3), r)
    margin = -kappa_difference(y, r, d, 5).estimate
    passed = 0
    for _ in range(400):
        i = rng.integers(0, y.size, 200)
        passed += kappa_difference(y[i], r[i], d[i], 5).lower > -margin
    assert passed / 400 < 0.05


@pytest.mark.parametrize(
    ("labels", "ref", "new", "reason"),
    [
        ([0, 0, 0], [0, 0, 0], [0, 0, 0], "not defined"),
        ([0, 1, 2, 1], [0, 1, 2, 1], [0, 1, 2, 1], "does not vary"),
    ],
)
def test_what_has_no_interval_says_so(labels, ref, new, reason):
    got = kappa_difference(np.array(labels), np.array(ref), np.array(new), 3)
    assert got.degenerate and reason in got.reason
    assert np.isnan([got.lower, got.upper]).all()


def test_one_patient_has_no_variance():
    labels, ref, new = graded(10)
    assert kappa_difference(labels, ref, new, 5, clusters=np.zeros(10)).degenerate


def test_ranked_probability_score():
    # Epstein 1969 as 1/(K-1) sum of squared cumulative errors; a forecast two grades off costs twice one grade off.
    losses = ranked_probability_losses(
        np.array([0, 0, 0, 1]), np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.2, 0.5, 0.3]])
    )
    assert losses == pytest.approx([0, 0.5, 1, (0.04 + 0.09) / 2])
    two = ranked_probability_losses(np.array([0, 1]), np.array([[0.7, 0.3], [0.6, 0.4]]))
    assert two == pytest.approx([0.09, 0.36])
    assert ranked_probability_losses(np.array([1]), np.array([[np.nan, 0.5, 0.5]])) == pytest.approx([1])


def test_no_decision_is_the_farthest_grade():
    assert farthest_if_none(np.array([-1, -1, -1, -1, 2]), np.array([0, 1, 3, 4, 4]), 5).tolist() == [4, 4, 0, 0, 2]
