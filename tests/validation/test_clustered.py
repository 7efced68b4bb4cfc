import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from primum.errors import InputError
from primum.validation.clustered import cluster_tables, clustered_critical, discordant_clusters, effective_clusters
from primum.validation.paired import clustered_mcnemar, collapse_to_patients, design_effect

# Psychiatry example of Durkalski 2003 / Yang 2010: one entry a cluster.
B = [0, 1, 1, 1, 0, 3, 3, 3, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0]
C = [4, 2, 3, 2, 1, 3, 0, 2, 2, 4, 2, 4, 3, 2, 1, 3, 1, 2, 0, 0, 0, 2, 1, 2, 2, 0, 0, 1, 1]
N = [7, 6, 7, 6, 4, 6, 5, 8, 4, 7, 3, 6, 7, 6, 5, 4, 6, 5, 4, 3, 5, 4, 4, 2, 3, 2, 2, 3, 1]


def psychiatry(b=B, c=C, n=N):
    b, c, n = (np.array(x) for x in (b, c, n))
    return np.stack([n - b - c, b, c, 0 * b], axis=1)


def test_psychiatry():
    test = clustered_mcnemar(psychiatry())
    assert test.naive_statistic == pytest.approx(11.84507, abs=1e-5)
    assert (test.statistic, test.p_value) == pytest.approx((7.185841, 0.007348111), abs=1e-6)
    assert test.durkalski_statistic == pytest.approx(7.542267, abs=1e-6)
    assert test.durkalski_p_value == pytest.approx(0.006026817, abs=1e-8)
    assert design_effect(psychiatry()) > 1


def test_psychiatry_oracle(oracles):
    item = oracles[0]["open.clustered.psychiatry"]
    inputs, expected = item["inputs"], item["expected"]
    test = clustered_mcnemar(psychiatry(inputs["b_per_cluster"], inputs["c_per_cluster"], inputs["n_per_cluster"]))
    for got, key in (
        (test.naive_statistic, "naive_chi2"),
        (test.statistic, "obuchowski_chi2"),
        (test.p_value, "obuchowski_p"),
        (test.durkalski_statistic, "durkalski_chi2"),
        (test.durkalski_p_value, "durkalski_p"),
    ):
        assert got == pytest.approx(expected[key], abs=item["abs_tol"])


cells = st.lists(st.integers(0, 3), min_size=5, max_size=80)


@given(cells)
@settings(max_examples=50, deadline=None)
def test_clusters_of_one_have_no_design_effect(cell):
    assert design_effect(np.eye(4)[cell]) == pytest.approx(1.0)


def test_identical_cases_within_patients_give_the_cluster_size():
    pairs = np.eye(4)[[0] * 40 + [1] * 5 + [2] * 6]
    assert design_effect(3 * pairs) == pytest.approx(3 * (153 - 1) / 153 * 51 / 50, rel=1e-9)


def test_no_variance_counts_a_patient_as_one_case():
    assert design_effect([[4, 0, 0, 0], [2, 0, 0, 0]]) == 3.0
    assert design_effect([[4, 1, 0, 0]]) == 5.0


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
@settings(max_examples=80, deadline=None)
def test_clusters_are_worth_no_more_than_their_number_and_no_less_than_kishs(sizes):
    worth = effective_clusters(sizes)
    kish = sum(sizes) ** 2 / sum(n * n for n in sizes)
    assert kish - 1e-9 <= worth <= len(sizes) + 1e-9
    assert effective_clusters(sizes * 3) == pytest.approx(3 * worth)


def test_effective_clusters_by_hand():
    assert effective_clusters([4] * 75) == 75
    assert effective_clusters([1, 1, 10]) == pytest.approx(12 / (1 + 0.7 * (102 / 12 - 1)))


def test_quantile_of_clusters():
    assert clustered_critical(0.95, 12.0) == pytest.approx(stats.t.ppf(0.975, 11))
    assert clustered_critical(0.95, 1.3) == pytest.approx(stats.t.ppf(0.975, 1))


def test_collapse_rules():
    tables = [[2, 1, 1, 0], [2, 1, 0, 3], [3, 0, 0, 0], [3, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 0]]
    assert collapse_to_patients(tables) == (1.0, 1.0, 1.0, 2.0)
    assert discordant_clusters(tables) == 2


def test_tables_from_vectors():
    first, second = np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 1, 0, 1], bool)
    tables = cluster_tables(first, second, np.array([0, 0, 1, 1, 1]), 2)
    assert tables.tolist() == [[1, 1, 0, 0], [1, 0, 1, 1]]


def test_no_discordance_is_no_evidence():
    test = clustered_mcnemar([[3, 0, 0, 0], [2, 0, 0, 1]])
    assert (test.statistic, test.p_value) == (0.0, 1.0)


@pytest.mark.parametrize("tables", [[[1, 2, 3]], [[1, 0, 0, 0]], [[0, 0, 0, 0]] * 2, [[1, -1, 0, 0]] * 2])
def test_impossible_tables_are_refused(tables):
    with pytest.raises(InputError):
        clustered_mcnemar(tables)
