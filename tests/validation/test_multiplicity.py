import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from primum.errors import InputError
from primum.validation.paired import holm


def test_five_p_values():
    got = holm([0.01, 0.02, 0.03, 0.04, 0.05])
    assert got.adjusted == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert got.rejected == (True, False, False, False, False)


def test_holm_oracle(oracles):
    item = oracles[0]["open.holm"]
    assert holm(item["inputs"]["p"]).adjusted == pytest.approx(item["expected"]["p_adj"], abs=item["abs_tol"])


@settings(max_examples=10, deadline=None)  # the other implementation takes a tenth of a second
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.sampled_from([0.025, 0.05]))
def test_is_statsmodels(p, alpha):
    rejected, adjusted, _, _ = multipletests(p, alpha, method="holm")
    got = holm(p, alpha)
    assert got.adjusted == pytest.approx(adjusted)
    clear = np.abs(adjusted - alpha) > 1e-9
    assert np.array_equal(np.array(got.rejected)[clear], rejected[clear])


def test_nothing_tested_is_nothing_rejected():
    assert holm([]).adjusted == ()


@pytest.mark.parametrize(("p", "alpha"), [([1.2], 0.05), ([float("nan")], 0.05), ([[0.1]], 0.05), ([0.1], 0)])
def test_bad_p_values_are_refused(p, alpha):
    with pytest.raises(InputError):
        holm(p, alpha)
