import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.errors import InputError
from primum.validation.paired import (
    power_noninferiority,
    required_positives,
    smallest_margin,
    tango_interval,
)


@pytest.mark.parametrize(
    ("n", "loss", "gain", "margin", "power"),
    [
        (280, 0.0025, 0.0025, 0.02, 0.863294),
        (518, 0.01, 0.01, 0.02, 0.805228),
        (110, 0.005, 0.005, 0.05, 0.903655),
    ],
)
def test_exact_power(n, loss, gain, margin, power):
    assert power_noninferiority(n, loss, gain, margin).power == pytest.approx(power, abs=1e-6)


@pytest.mark.parametrize(("margin", "n"), [(0.01, 381), (0.02, 189), (0.03, 125), (0.05, 73), (0.1, 35)])
def test_zero_flip_floor(margin, n):
    assert required_positives(margin) == n
    assert tango_interval(n, 0, 0, 0).lower > -margin
    assert tango_interval(n - 1, 0, 0, 0).lower <= -margin
    assert smallest_margin(n) < margin <= smallest_margin(n - 1)


def test_power_oracles(oracles):
    items, _ = oracles
    item = items["open.power.exact_tango"]
    for row, power in zip(item["inputs"]["rows"], item["expected"]["power"], strict=True):
        assert power_noninferiority(**row).power == pytest.approx(power, abs=item["abs_tol"])
    item = items["open.n.zero_flip_floor"]
    alpha = item["inputs"]["alpha_one_sided"]
    got = [required_positives(margin, alpha) for margin in item["inputs"]["margins"]]
    assert got == item["expected"]["n"]


@given(st.integers(1, 25), st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0.02, 0.6))
@settings(max_examples=25, deadline=None)
def test_enumeration_is_complete(n, loss, gain, margin):
    """Against the plain double sum over all tables, each judged by its interval."""
    total = 0.0
    for lost in range(n + 1):
        for gained in range(n + 1 - lost):
            rest = n - lost - gained
            lower = tango_interval(rest, gained, lost, 0).lower
            if abs(lower + margin) < 1e-9:
                return
            if lower > -margin:
                ways = np.prod(np.arange(rest + 1, n + 1, dtype=float))
                ways /= np.prod(np.arange(1, lost + 1, dtype=float))
                ways /= np.prod(np.arange(1, gained + 1, dtype=float))
                total += ways * loss**lost * gain**gained * (1 - loss - gain) ** rest
    assert power_noninferiority(n, loss, gain, margin).power == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("gain", [0.0, 0.01, 0.03])
@pytest.mark.parametrize(("n", "margin"), [(50, 0.05), (100, 0.05), (200, 0.02), (400, 0.02)])
def test_type_one_error_at_the_margin(n, margin, gain):
    assert power_noninferiority(n, margin + gain, gain, margin).power <= 0.03


def test_more_margin_and_fewer_losses_give_more_power():
    powers = [power_noninferiority(300, 0.01, 0.005, m).power for m in (0.01, 0.02, 0.03, 0.05)]
    assert powers == sorted(powers)
    powers = [power_noninferiority(300, loss, 0.005, 0.03).power for loss in (0.03, 0.02, 0.01, 0.0)]
    assert powers == sorted(powers)


def test_five_thousand_cases_are_quick():
    start = time.perf_counter()
    power_noninferiority(5000, 0.01, 0.01, 0.01)
    assert time.perf_counter() - start < 0.5


def test_impossible_arguments_are_refused():
    for arguments in (
        (0, 0, 0, 0.1),
        (2.5, 0, 0, 0.1),
        (10, 0.6, 0.6, 0.1),
        (10, -0.1, 0, 0.1),
        (10, 0, 0, 1),
    ):
        with pytest.raises(InputError):
            power_noninferiority(*arguments)
    with pytest.raises(InputError):
        required_positives(0.02, alpha=0.5)
    with pytest.raises(InputError):
        required_positives(0)
