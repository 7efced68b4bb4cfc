import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from primum.errors import InputError
from primum.validation.custom_metric import compare_metric


def sample(n=200, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    reference = np.clip(labels * 0.3 + rng.uniform(0, 0.7, n), 0, 1)
    return labels, reference, np.clip(reference + rng.normal(0, 0.2, n), 0, 1)


def test_values_and_a_seeded_interval():
    labels, reference, candidate = sample()
    found = compare_metric("ap", average_precision_score, labels, (reference, candidate), np.arange(200))
    assert found.reference == average_precision_score(labels, reference)
    assert found.candidate == average_precision_score(labels, candidate)
    assert found.difference.lower < found.difference.estimate < found.difference.upper
    assert found == compare_metric("ap", average_precision_score, labels, (reference, candidate), np.arange(200))


def test_a_mean_has_the_interval_of_a_mean():
    labels, reference, candidate = sample(400)
    found = compare_metric("mean", lambda y, p: float(p.mean()), labels, (reference, candidate), np.arange(400))
    half = 1.96 * (candidate - reference).std() / 20
    assert found.difference.upper - found.difference.lower == pytest.approx(2 * half, rel=0.15)


def test_draws_are_of_whole_patients():
    labels, reference, candidate = (np.repeat(column, 8) for column in sample(50))
    metric = lambda y, p: float(p.mean())  # noqa: E731
    as_cases = compare_metric("m", metric, labels, (reference, candidate), np.arange(400)).difference
    by_patient = compare_metric("m", metric, labels, (reference, candidate), np.repeat(np.arange(50), 8)).difference
    assert by_patient.upper - by_patient.lower > 2 * (as_cases.upper - as_cases.lower)
    one = compare_metric("m", metric, labels, (reference, candidate), np.zeros(400))
    assert np.isnan(one.difference.lower) and one.reason == "one patient"


def test_a_metric_without_a_value_is_refused_and_one_that_often_fails_has_no_interval():
    labels, reference, candidate = sample(50)
    for wrong in (
        lambda y, p: float("nan"), lambda y, p: float("inf"), lambda y, p: "high", lambda y, p: "0.5",
        lambda y, p: None, lambda y, p: p, lambda y, p: p[:1], lambda y, p: 1j, lambda y, p: [0.5],
        lambda y, p: [[1], [2, 3]],
    ):  # fmt: skip
        with pytest.raises(InputError, match="'mine'"):
            compare_metric("mine", wrong, labels, (reference, candidate), np.arange(50))
    rare = np.zeros(50, int)
    rare[0] = 1

    def needs_both(y, p):
        if y.min() == y.max():
            raise ValueError("one class")
        return float(p[y == 1].mean())

    found = compare_metric("mine", needs_both, rare, (reference, candidate), np.arange(50))
    assert np.isnan(found.difference.lower) and "resamples" in found.reason and np.isfinite(found.candidate)


class Odd(Exception):
    """Nothing that a library knows."""


@pytest.mark.parametrize("kind", [ValueError, KeyError, ZeroDivisionError, RuntimeError, Odd])
def test_a_metric_that_raises_is_named_with_the_kind_of_error_and_none_of_the_data(kind):
    labels, reference, candidate = sample(50)

    def broken(y, p):
        raise kind("patient Jane Doe")

    with pytest.raises(InputError, match=f"'mine'.*{kind.__name__}") as told:
        compare_metric("mine", broken, labels, (reference, candidate), np.arange(50))
    assert "Jane" not in str(told.value) and isinstance(told.value.__cause__, kind)


def test_a_metric_that_fails_on_a_draw_alone():
    labels, reference, candidate = sample(50)
    seen = []

    def later(act):
        seen.clear()

        def metric(y, p):
            seen.append(1)
            return float(p.mean()) if len(seen) <= 2 else act()

        return metric

    for act in (lambda: 1 / 0, lambda: float("inf"), lambda: float("nan")):
        found = compare_metric("mine", later(act), labels, (reference, candidate), np.arange(50))
        assert np.isnan(found.difference.lower) and "100% of the resamples" in found.reason
    for act, name in ((lambda: None, "NoneType"), (lambda: {}["Jane Doe"], "KeyError")):
        with pytest.raises(InputError, match=f"'mine'.*{name}") as told:
            compare_metric("mine", later(act), labels, (reference, candidate), np.arange(50))
        assert "Jane" not in str(told.value)
