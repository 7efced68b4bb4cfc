"""Memory by size, and the size that fits."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from primum.batching.memory import MemoryModel


def measured(pairs):
    model = MemoryModel()
    for size, taken in pairs:
        model.observe(size, taken)
    return model


@given(st.floats(0, 100), st.floats(0.1, 10), st.floats(1, 1000))
def test_on_an_exact_line_the_largest_size_is_the_lines_own(base, each, limit):
    model = measured([(1, base + each), (16, base + 16 * each)])
    expected = max([1] + [n for n in range(1, 33) if base + each * n <= limit * (1 - 1e-12)])
    assert abs(model.largest(limit, 32) - expected) <= 1


@given(st.dictionaries(st.integers(1, 64), st.floats(1, 1e6), min_size=1, max_size=8), st.floats(1, 1e6))
def test_what_fits_is_expected_to_fit_and_the_curve_never_falls(taken, limit):
    model = measured(taken.items())
    expected = [model.expected(n) for n in range(1, 200)]
    assert all(a <= b * (1 + 1e-9) for a, b in pairwise(expected))
    size = model.largest(limit, 128)
    assert size == 1 or model.expected(size) <= limit


def test_sizes_are_explored_from_one_by_doubling():
    model = MemoryModel()
    assert model.largest(100, 32) == 1
    model.observe(1, 10)
    assert model.expected(2) == pytest.approx(20)
    assert model.largest(100, 32) == 2
    model.observe(2, 60)
    assert model.largest(100, 32) == 2
    assert model.largest(200, 32) == 4


def test_a_measured_size_keeps_its_own_worst():
    model = measured([(4, 50), (4, 70), (4, 60)])
    assert model.expected(4) == 70
