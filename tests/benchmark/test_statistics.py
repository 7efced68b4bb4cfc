import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primum.benchmark import bootstrap_ratio, calculate_stage_statistics
from primum.errors import InputError

times = st.lists(st.floats(0, 1e6), min_size=1, max_size=300)


@given(times)
def test_statistics_agree_with_the_standard_library(values):
    stats = calculate_stage_statistics(values)
    assert stats["count"] == len(values)
    assert stats["mean"] == pytest.approx(statistics.fmean(values))
    assert stats["median"] == pytest.approx(statistics.median(values))
    assert (stats["min"], stats["max"]) == (min(values), max(values))
    if len(values) > 1:
        assert stats["stddev"] == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-6)


@given(times)
def test_supported_percentiles_are_ordered_and_unsupported_ones_are_nan_and_named(values):
    stats = calculate_stage_statistics(values)
    known = [stats[p] for p in ("p50", "p95", "p99") if not math.isnan(stats[p])]
    assert known == sorted(known)
    assert all(stats["min"] <= x <= stats["max"] for x in known)
    unsupported = [k for k, v in stats.items() if isinstance(v, float) and math.isnan(v)]
    assert stats.get("unsupported", []) == unsupported


@pytest.mark.parametrize(
    ("n", "unsupported"),
    [(1, ["p50", "p95", "p99", "stddev"]), (2, ["p95", "p99"]), (19, ["p95", "p99"]), (20, ["p99"]), (99, ["p99"])],
)
def test_a_percentile_needs_a_sample_that_reaches_beyond_it(n, unsupported):
    assert calculate_stage_statistics(np.arange(n, dtype=float))["unsupported"] == unsupported


def test_a_hundred_calls_support_everything():
    stats = calculate_stage_statistics(np.arange(100.0))
    assert set(stats) == {"mean", "median", "p50", "p95", "p99", "min", "max", "stddev", "count"}
    assert stats["p99"] == pytest.approx(98.01)


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf], [-1.0], [[1.0, 2.0]]])
def test_what_is_no_sample_of_times_is_refused(bad):
    with pytest.raises(InputError):
        calculate_stage_statistics(bad)


def test_the_ratio_of_proportional_times_is_exact_however_the_machine_sways():
    # Rounds differ tenfold, but hit both alike: pairing must keep the interval tight.
    sway = np.linspace(1, 10, 12)[:, None]
    candidate = sway * np.random.default_rng(0).uniform(0.99, 1.01, (12, 30))
    ratio, lower, upper = bootstrap_ratio(3 * candidate, candidate)
    assert (ratio, lower, upper) == pytest.approx((3, 3, 3))


def test_equal_distributions_are_not_called_faster():
    rng = np.random.default_rng(1)
    ratio, lower, upper = bootstrap_ratio(rng.gamma(20, 1, (20, 20)), rng.gamma(20, 1, (20, 20)))
    assert lower < 1 < upper
    assert lower <= ratio <= upper


def test_the_seed_decides_the_interval():
    rng = np.random.default_rng(2)
    a, b = rng.gamma(9, 1, (8, 5)), rng.gamma(9, 1, (8, 7))
    assert bootstrap_ratio(a, b, seed=3) == bootstrap_ratio(a, b, seed=3)
    assert bootstrap_ratio(a, b, seed=3) != bootstrap_ratio(a, b, seed=4)


def test_more_confidence_is_wider():
    rng = np.random.default_rng(2)
    a, b = rng.gamma(9, 1, (8, 5)), rng.gamma(9, 1, (8, 5))
    _, low, high = bootstrap_ratio(a, b, confidence=0.5)
    _, lower, higher = bootstrap_ratio(a, b, confidence=0.99)
    assert lower < low < high < higher


def test_one_round_supports_no_interval():
    ratio, lower, upper = bootstrap_ratio([[4.0, 4.0]], [[2.0, 2.0]])
    assert ratio == 2
    assert math.isnan(lower)
    assert math.isnan(upper)


@pytest.mark.parametrize(
    ("reference", "candidate"), [([1.0], [1.0]), ([[1.0]], [[1.0], [2.0]]), ([[]], [[]]), ([[1.0]], [[0.0]])]
)
def test_unpaired_or_empty_rounds_are_refused(reference, candidate):
    with pytest.raises(InputError):
        bootstrap_ratio(reference, candidate)


def test_a_bad_confidence_is_refused():
    with pytest.raises(InputError, match="confidence"):
        bootstrap_ratio([[1.0]], [[1.0]], confidence=95)
