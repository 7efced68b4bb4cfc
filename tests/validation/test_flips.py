import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from primum.errors import InputError
from primum.validation.flips import agreement, cohens_kappa, count_flips, list_flips

Y = [1, 1, 1, 1, 0, 0, 0, 0, 1, 0]
REF = [1, 1, 1, 0, 0, 0, 1, 0, 1, 0]
NEW = [1, 0, 1, 1, 0, 1, 0, 0, 1, 0]
SAS = [[0, 4, 1], [0, 8, 0], [0, 1, 5]]


def test_equal_accuracy_hides_flips():
    got = count_flips(Y, REF, NEW)
    assert (got.n, got.flips, got.churn, got.negative_flip_rate) == (10, 4, 0.4, 0.2)
    assert (got.harmful, got.beneficial) == ((1, 5), (3, 6))
    assert got.reference_accuracy == got.candidate_accuracy == 0.8


def test_flip_oracle(oracles):
    item = oracles[0]["open.flips"]
    inputs, expected = item["inputs"], item["expected"]
    got = count_flips(inputs["y"], inputs["ref"], inputs["new"])
    assert (list(got.harmful), list(got.beneficial)) == (expected["harmful"], expected["beneficial"])
    figures = (got.n, got.flips, got.churn, got.negative_flip_rate, got.reference_accuracy)
    assert figures == pytest.approx(
        [expected[k] for k in ("n", "flips", "churn", "negative_flip_rate", "ref_accuracy")]
    )


def test_published_kappa():
    got = cohens_kappa(SAS)
    assert (got.estimate, got.standard_error) == pytest.approx((0.4842, 0.138), abs=6e-5)
    assert (got.lower, got.upper) == pytest.approx((0.2137, 0.7547), abs=6e-5)
    got = cohens_kappa(SAS, "linear")
    assert (got.estimate, got.standard_error) == pytest.approx((0.4701, 0.1457), abs=6e-5)
    assert (got.lower, got.upper) == pytest.approx((0.1845, 0.7558), abs=6e-5)


def test_kappa_oracle(oracles):
    item = oracles[0]["open.kappa.sas"]
    got = cohens_kappa(item["inputs"]["table"])
    assert got.estimate == pytest.approx(item["expected"]["kappa"], abs=item["abs_tol"])
    assert got.standard_error == pytest.approx(item["expected"]["ase"], abs=item["abs_tol"])


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_kappa_parity_with_sklearn(weights):
    first, second = np.random.default_rng(0).integers(0, 4, (2, 200))
    table = np.bincount(4 * first + second, minlength=16).reshape(4, 4)
    expected = cohen_kappa_score(first, second, weights=None if weights == "none" else weights)
    assert cohens_kappa(table, weights).estimate == pytest.approx(expected)


def test_kappa_of_constant_raters_is_undefined():
    assert np.isnan(cohens_kappa([[7, 0], [0, 0]]).estimate)
    with pytest.raises(InputError):
        cohens_kappa([[1, 2, 3]])


def test_agreement_counts_not_finite_as_wrong():
    labels = np.array([1, 1, 0, 0])
    ref, new = np.array([0.9, 0.2, 0.1, 0.2]), np.array([np.nan, np.inf, 0.1, 0.3])
    got = agreement(labels, ref, new, 0.5)
    assert (got.not_finite, got.flips, got.harmful, got.beneficial) == (2, 1, 1, 0)
    assert (got.max_abs_difference, got.mean_abs_difference) == pytest.approx((0.1, 0.05))


def test_flip_list_names_cases_and_groups():
    labels = np.array([1, 0, 1, 0])
    ref, new = np.array([0.9, 0.6, 0.9, 0.1]), np.array([0.4, 0.4, np.nan, 0.1])
    got = list_flips(labels, ref, new, 0.5, ["a", "b", "c", "d"], {"site": np.array(["N", "S", "N", "S"])})
    assert [(f.case_id, f.harmful, f.groups) for f in got] == [
        ("a", True, {"site": "N"}), ("b", False, {"site": "S"}), ("c", True, {"site": "N"}),
    ]  # fmt: skip
    assert (got[1].label, got[1].reference_score, got[1].candidate_score) == (0, 0.6, 0.4)


def test_no_reference_is_nothing_to_agree_with():
    got = agreement([1, 0], [np.nan, np.nan], [0.1, 0.2], 0.5)
    assert got.flips == 0
    assert np.isnan([got.churn, got.kappa, got.max_abs_difference]).all()


def test_lengths_must_match():
    with pytest.raises(InputError):
        count_flips([1, 0], [1], [1, 0])
    with pytest.raises(InputError):
        count_flips([], [], [])
