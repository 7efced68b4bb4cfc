"""The learned latency table."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from primum.batching.latency import LatencyTable, LatencyTables

observations = st.lists(st.tuples(st.integers(1, 40), st.floats(1e-5, 1.0)), min_size=1, max_size=150)


def filled(function, sizes, calls=20):
    table = LatencyTable()
    for size in sizes:
        for _ in range(calls):
            table.observe(size, function(size))
    return table


@hypothesis_settings(deadline=None)
@given(observations)
def test_every_curve_rises_with_size_and_is_positive_once_measured(pairs):
    table = LatencyTable()
    for size, seconds in pairs:
        table.observe(size, seconds)
    for curve in (table.upper, table.typical, table.unhindered):
        read = [curve(n) for n in range(1, 120)]
        assert all(a <= b * (1 + 1e-9) for a, b in pairwise(read))
        assert read[-1] > 0


@hypothesis_settings(deadline=None)
@given(st.floats(0.001, 0.1), st.floats(0.0, 0.01))
def test_an_exact_line_is_read_back_between_and_to_twice_the_largest_size(base, each):
    table = filled(lambda n: base + each * n, (1, 2, 8, 32))
    for n in (1, 2, 3, 5, 8, 20, 32, 50, 64):
        assert table.upper(n) == pytest.approx(base + each * n, rel=1e-6)
    assert table.upper(128) == pytest.approx(2 * (base + 64 * each), rel=1e-6)


def test_a_step_at_padded_sizes_is_kept():
    table = filled(lambda n: 1.0 if n <= 8 else 3.0, (1, 4, 8, 9, 16))
    assert table.upper(8) == 1.0 and table.upper(9) == 3.0
    assert table.upper(5) == 1.0 and table.upper(12) == 3.0


def test_before_anything_is_measured_nothing_is_claimed():
    assert LatencyTable().upper(4) == 0.0 and LatencyTable().knee() is None


def test_one_measured_size_is_explored_in_proportion():
    table = filled(lambda n: 0.01, (4,))
    assert table.upper(1) == table.upper(4) == 0.01
    assert table.upper(8) == pytest.approx(0.02)


def test_the_upper_curve_is_the_quantile_of_what_was_seen():
    rng = np.random.default_rng(0)
    samples = rng.lognormal(0, 0.3, 32) * 0.01
    table = LatencyTable(0.9)
    for seconds in samples:
        table.observe(1, seconds)
    table.observe(2, 1.0)  # a new size brings the curves up to date
    ordered = np.sort(samples)
    assert table.upper(1) == ordered[28]
    assert table.typical(1) == ordered[15]
    assert table.unhindered(1) == ordered[3]


def test_a_size_seen_rarely_is_widened_by_what_others_showed():
    rng = np.random.default_rng(1)
    table = LatencyTable(0.95)
    for _ in range(200):
        table.observe(1, 0.01 * rng.lognormal(0, 0.5))
    table.observe(2, 0.02)
    assert table.upper(2) > 1.5 * 0.02


def test_old_calls_leave_the_window():
    table = filled(lambda n: 1.0, (1,), calls=40)
    for _ in range(200):
        table.observe(1, 0.01)
    assert table.upper(1) == pytest.approx(0.01)


def test_the_knee_is_where_a_larger_batch_gains_nothing():
    flat = filled(lambda n: 0.01 * n, (1, 2, 4, 8))
    assert flat.knee() == 1
    gaining = filled(lambda n: 0.01 + 0.001 * n, (1, 2, 4, 8))
    assert gaining.knee() is None
    rare = filled(lambda n: 0.01 * n, (1, 2), calls=1)
    assert rare.knee() is None


def test_clearing_forgets_and_says_so():
    table = filled(lambda n: 1.0, (1, 2))
    version = table.version
    table.clear()
    assert table.upper(1) == 0.0 and table.version > version and table.calls == 0


def test_tables_are_by_model_and_bucket():
    tables = LatencyTables()
    tables.of("m", "a").observe(1, 0.5)
    assert tables.of("m", "a").upper(1) == 0.5
    assert tables.of("m", "b").upper(1) == tables.of("n", "a").upper(1) == 0.0
