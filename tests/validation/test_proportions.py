import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from primum.errors import InputError
from primum.validation.paired import (
    clopper_pearson_interval,
    mcnemar_midp,
    newcombe_paired_interval,
    tango_interval,
    tango_noninferiority,
    wilson_interval,
)

counts = st.integers(0, 60)
tables = st.tuples(counts, counts, counts, counts).filter(lambda t: sum(t) > 0)

# table, confidence, published Tango and Newcombe-10 bounds, tolerance
PUBLISHED = [
    ("Bentur 2009", (1, 1, 7, 12), 0.95, (-0.517, -0.026), (-0.507, -0.026), 5e-4),
    ("Newcombe 1998", (20, 12, 2, 16), 0.95, None, (0.0562, 0.3292), 5e-5),
    ("Tango 1998 VII", (4, 9, 3, 16), 0.95, (-0.027, 0.390), None, 5e-4),
    ("Tango 1998 V", (43, 0, 1, 0), 0.90, (-0.096, 0.037), None, 5e-4),
    ("no flip 190", (190, 0, 0, 10), 0.95, (-0.01884533, 0.01884533), (-0.01954214, 0.01954214), 1e-7),
    ("no flip 189", (189, 0, 0, 0), 0.95, (-0.0199203, 0.0199203), (-0.0199203, 0.0199203), 1e-7),
    ("no flip 188", (188, 0, 0, 0), 0.95, (-0.02002413, 0.02002413), (-0.02002413, 0.02002413), 1e-7),
    ("DTComPair sens", (319, 78, 22, 32), 0.95, (0.08274957, 0.16732045), (0.08202812, 0.16664915), 1e-7),
    ("DTComPair spec", (155, 22, 53, 31), 0.95, (-0.1832436, -0.05514124), (-0.18205316, -0.0544943), 1e-7),
]


@pytest.mark.parametrize(("name", "table", "confidence", "tango", "newcombe", "tolerance"), PUBLISHED)
def test_published_paired_intervals(name, table, confidence, tango, newcombe, tolerance):
    for expected, method in ((tango, tango_interval), (newcombe, newcombe_paired_interval)):
        if expected is not None:
            got = method(*table, confidence)
            assert (got.lower, got.upper) == pytest.approx(expected, abs=tolerance), name
            assert got.estimate == pytest.approx((table[1] - table[2]) / sum(table))


@pytest.mark.parametrize(
    ("b", "c", "p"),
    [(1, 7, 0.0390625), (12, 2, 0.0073852539), (9, 3, 0.092285156), (0, 1, 0.5), (22, 53, 0.0003129786)],
)
def test_published_midp(b, c, p):
    assert mcnemar_midp(b, c).p_value == pytest.approx(p, abs=1e-9)
    assert mcnemar_midp(b, c) == mcnemar_midp(c, b)


def test_midp_without_discordance_is_one():
    assert mcnemar_midp(0, 0).p_value == 1.0


def test_published_noninferiority_test():
    test = tango_noninferiority(43, 0, 1, 0, 0.1)
    assert (test.statistic, test.p_value) == pytest.approx((1.708564, 0.043766), abs=1e-6)


@pytest.mark.parametrize(("x", "n", "wilson", "exact"), [
    (397, 451, (0.847, 0.9071), (0.8466745, 0.9087592)),
    (177, 261, (0.6193, 0.7319), (0.6177792, 0.7344406)),
])  # fmt: skip
def test_published_single_intervals(x, n, wilson, exact):
    got = wilson_interval(x, n)
    assert (got.lower, got.upper) == pytest.approx(wilson, abs=1e-4)
    got = clopper_pearson_interval(x, n)
    assert (got.lower, got.upper) == pytest.approx(exact, abs=1e-7)


def test_every_paired_oracle(oracles):
    items, _ = oracles
    seen = 0
    for name, item in items.items():
        if not name.startswith(("open.paired", "open.edge")):
            continue
        table, confidence = item["inputs"]["table_abcd"], 1 - item["inputs"]["alpha"]
        for source in ("published", "recomputed"):
            expected = item["expected"].get(source, {})
            for key, method in (("tango", tango_interval), ("newcombe10", newcombe_paired_interval)):
                if key in expected:
                    got = method(*table, confidence)
                    assert (got.lower, got.upper) == pytest.approx(expected[key], abs=item["abs_tol"]), name
                    seen += 1
        mcnemar = item["expected"]["recomputed"]["mcnemar"]
        if mcnemar:
            assert mcnemar_midp(*table[1:3]).p_value == pytest.approx(mcnemar["p_midp"], abs=1e-8)
    assert seen >= 20


def test_single_and_test_oracles(oracles):
    items, _ = oracles
    for name in ("open.single.397_451", "open.single.177_261"):
        x, n = items[name]["inputs"]["x"], items[name]["inputs"]["n"]
        for key, method in (("wilson", wilson_interval), ("clopper_pearson", clopper_pearson_interval)):
            got = method(x, n, 0.95)
            assert (got.lower, got.upper) == pytest.approx(items[name]["expected"][key], abs=1e-4)
    item = items["open.ni.tango1998_V"]
    test = tango_noninferiority(*item["inputs"]["table_abcd"], item["inputs"]["margin"])
    assert test.statistic == pytest.approx(item["expected"]["z"], abs=item["abs_tol"])
    assert test.p_value == pytest.approx(item["expected"]["p_one_sided"], abs=item["abs_tol"])


@given(tables, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
@settings(max_examples=80, deadline=None)
def test_interval_holds_the_estimate_and_is_antisymmetric(table, confidence):
    a, b, c, d = table
    for method in (tango_interval, newcombe_paired_interval):
        one, other = method(a, b, c, d, confidence), method(a, c, b, d, confidence)
        assert -1 <= one.lower <= one.estimate <= one.upper <= 1
        assert one.upper > one.lower
        assert (one.lower, one.upper) == pytest.approx((-other.upper, -other.lower), abs=1e-9)


@given(tables, st.floats(0.005, 0.5))
@settings(max_examples=80, deadline=None)
def test_tango_interval_and_test_are_dual(table, margin):
    lower = tango_interval(*table, 0.95).lower
    assume(abs(lower + margin) > 1e-7)
    assert (lower > -margin) == (tango_noninferiority(*table, margin).p_value < 0.025)


@given(tables, st.integers(2, 9))
@settings(max_examples=50, deadline=None)
def test_more_of_the_same_narrows_the_interval(table, times):
    one = tango_interval(*table)
    more = tango_interval(*(times * count for count in table))
    assert more.lower >= one.lower - 1e-9
    assert more.upper <= one.upper + 1e-9


@given(st.integers(0, 40), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_wilson_and_clopper_pearson_match_scipy(x, n):
    assume(x <= n)
    for method, name in ((wilson_interval, "wilson"), (clopper_pearson_interval, "exact")):
        expected = stats.binomtest(x, n).proportion_ci(0.95, method=name)
        got = method(x, n)
        assert (got.lower, got.upper) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_fractional_counts_scale():
    whole = tango_interval(100, 3, 5, 12)
    halved = tango_interval(50, 1.5, 2.5, 6)
    assert halved.estimate == pytest.approx(whole.estimate)
    assert halved.lower < whole.lower


@pytest.mark.parametrize("table", [(0, 0, 0, 0), (-1, 1, 1, 1), (np.nan, 1, 1, 1), (np.inf, 0, 0, 0)])
def test_impossible_tables_are_refused(table):
    for method in (tango_interval, newcombe_paired_interval):
        with pytest.raises(InputError):
            method(*table)


def test_impossible_arguments_are_refused():
    with pytest.raises(InputError):
        tango_noninferiority(1, 1, 1, 1, 0)
    with pytest.raises(InputError):
        tango_interval(1, 1, 1, 1, 1.0)
    with pytest.raises(InputError):
        wilson_interval(3, 2)
    with pytest.raises(InputError):
        mcnemar_midp(1.5, 2)


def test_type_one_error_where_wald_fails():
    """True difference exactly -0.05, candidate never gains: Tango holds 0.025, Wald does not."""
    n, margin, z = 60, 0.05, 1.959963985
    lost = np.random.default_rng(1).binomial(n, margin, size=20_000)
    values, repeats = np.unique(lost, return_counts=True)
    tango = np.array([tango_interval(n - c, 0, c, 0).lower > -margin for c in values])
    share = values / n
    wald = -share - z * np.sqrt(share * (1 - share) / n) > -margin
    assert (tango * repeats).sum() / lost.size <= 0.03
    assert (wald * repeats).sum() / lost.size > 0.04
