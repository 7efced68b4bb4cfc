import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import SquareTable

from primum.errors import InputError
from primum.validation.multiclass import marginal_shift, quadratic_losses
from primum.validation.paired import bhapkar, mcnemar_midp, stuart_maxwell

# Unaided distance vision of 7477 women, right and left eye (Stuart 1953).
VISION = [[1520, 266, 124, 66], [234, 1512, 432, 78], [117, 362, 1772, 205], [36, 82, 179, 492]]


def test_fleiss_2003():
    got = stuart_maxwell([[35, 5, 0], [15, 20, 5], [10, 5, 5]])
    assert (got.statistic, got.degrees_of_freedom, got.p_value) == pytest.approx((14.0, 2, 0.000912), abs=1e-6)


def test_fleiss_oracle(oracles):
    item = oracles[0]["open.multiclass.fleiss2003"]
    got = stuart_maxwell(item["inputs"]["table"])
    expected = [item["expected"][k] for k in ("stuart_T", "df", "p")]
    assert [got.statistic, got.degrees_of_freedom, got.p_value] == pytest.approx(expected, abs=1e-6)


def test_vision():
    assert stuart_maxwell(VISION).statistic == pytest.approx(11.957, abs=5e-4)
    assert bhapkar(VISION).statistic == pytest.approx(11.976, abs=5e-4)
    assert bhapkar(VISION).p_value == pytest.approx(0.0075, abs=5e-5)


@given(st.integers(0, 10**6), st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_are_statsmodels(seed, classes):
    table = np.random.default_rng(seed).integers(1, 30, (classes, classes))
    theirs = SquareTable(table, shift_zeros=False)
    for ours, method in ((stuart_maxwell, "stuart_maxwell"), (bhapkar, "bhapkar")):
        expected = theirs.homogeneity(method=method)
        got = ours(table)
        assert got.statistic == pytest.approx(expected.statistic)
        assert (got.degrees_of_freedom, got.p_value) == pytest.approx((expected.df, expected.pvalue))


def test_two_classes_are_mcnemar():
    assert stuart_maxwell([[50, 12], [4, 30]]).statistic == pytest.approx((12 - 4) ** 2 / 16)
    assert stuart_maxwell([[50, 12], [4, 30]]).p_value == pytest.approx(mcnemar_midp(12, 4).p_value, abs=0.01)


def test_classes_without_discordance_add_nothing():
    wide = np.zeros((4, 4))
    wide[:3, :3] = [[35, 5, 0], [15, 20, 5], [10, 5, 5]]
    wide[3, 3] = 9
    got = stuart_maxwell(wide)
    assert (got.statistic, got.degrees_of_freedom) == pytest.approx((14.0, 2))
    assert stuart_maxwell(np.eye(3)).p_value == bhapkar(np.eye(3)).p_value == 1.0
    assert bhapkar([[0, 7], [0, 0]]).statistic == np.inf


@pytest.mark.parametrize("table", [[[1, 2]], [[1, -1], [0, 2]], [[0, 0], [0, 0]], [[np.nan, 1], [1, 1]]])
def test_impossible_tables_are_refused(table):
    with pytest.raises(InputError):
        stuart_maxwell(table)


def test_shift_by_patient():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 3, (2, 80))
    table = np.bincount(3 * first + second, minlength=9).reshape(3, 3)
    alone = marginal_shift(first, second, 3)
    assert [t.statistic for t in alone] == pytest.approx([stuart_maxwell(table).statistic, bhapkar(table).statistic])
    # Four copies of every case within its patient know no more than one.
    repeated = marginal_shift(np.repeat(first, 4), np.repeat(second, 4), 3, np.repeat(np.arange(80), 4))
    assert [t.statistic for t in repeated] == pytest.approx([t.statistic for t in alone])


def test_brier_of_two_classes_is_the_binary_one():
    p = np.array([0.1, 0.9, 0.8, 0.3])
    losses = quadratic_losses(np.array([0, 1, 1, 0]), np.stack([1 - p, p], axis=1))
    assert losses.mean() == pytest.approx(0.0375)
    assert quadratic_losses(np.array([0, 2]), np.array([[0, 1.0, 0], [np.nan, 0, 1]])).tolist() == [1.0, 1.0]
