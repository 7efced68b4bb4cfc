"""The two fits, against independent implementations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from primum.batching.curve import isotonic, robust_line

values = st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.5, 20)), min_size=1, max_size=20)


@given(values)
def test_pooling_is_isotonic_regression(pairs):
    y, w = (np.array(column) for column in zip(*pairs))
    expected = IsotonicRegression().fit(np.arange(len(y)), y, w).predict(np.arange(len(y)))
    assert np.allclose(isotonic(list(y), list(w)), expected)


@given(st.floats(0, 5), st.floats(0, 2), st.lists(st.integers(1, 64), min_size=2, max_size=12, unique=True))
def test_a_line_is_found_exactly(base, each, sizes):
    found = robust_line(sizes, [base + each * n for n in sizes], [1.0] * len(sizes))
    assert found == pytest.approx((base, each), abs=1e-6)


def test_one_outlier_hardly_tilts_it():
    sizes = [1, 2, 4, 8, 16, 32]
    y = [6 + 4 * n for n in sizes]
    y[1] = 200.0
    base, each = robust_line(sizes, y, [1.0] * 6)
    plain_each, plain_base = np.polyfit(sizes, y, 1)
    assert abs(each - 4) < abs(plain_each - 4) / 3 and abs(base - 6) < abs(plain_base - 6) / 3


def test_neither_slope_nor_intercept_is_negative():
    assert robust_line([1, 2, 3], [3.0, 2.0, 1.0], [1.0] * 3)[1] == 0.0
    base, each = robust_line([1, 2, 3], [0.1, 2.0, 4.0], [1.0] * 3)
    assert base == 0.0 and each > 0
    assert robust_line([4], [8.0], [1.0]) == (0.0, 2.0)
