import numpy as np
import pytest

from primum.config import GuardPolicy
from primum.errors import InputError
from primum.task import Task
from primum.validation.conformal import fit_band
from primum.validation.decisions import Rule
from primum.validation.guard_curve import assess_guard, guard_curve
from primum.validation.paired import clopper_pearson_interval

BINARY = Rule(Task.BINARY, (0.5,))
NAMES = ("negative", "positive")


def test_an_outcome_by_hand():
    """Patients a (three cases), b, c and d; leads 0.1, 0.3, 0.4 | 0.05 | nan | 0.4."""
    fast = np.array([0.6, 0.8, 0.9, 0.45, np.nan, 0.1])
    reference = np.array([0.4, 0.4, 0.9, 0.6, 0.6, 0.2])
    units = np.array(["a", "a", "a", "b", "c", "d"])
    got = assess_guard(BINARY, NAMES, fast, reference, units, 0.1 + 1e-9)
    assert (got.n, got.n_patients) == (6, 4)
    assert (got.flips_unguarded, got.flips_left, got.patients_left) == (4, 1, 1)
    assert (got.deferred, got.deferred_patients) == (0.5, 0.75)
    bounds = clopper_pearson_interval(1, 4)
    assert (got.lower, got.upper) == (bounds.lower, bounds.upper)
    # The flip that is left is patient a's, in a case that the reference calls negative.
    negative, positive = got.by_class
    assert (negative.name, negative.n_patients, negative.patients_left) == ("negative", 2, 1)
    assert (positive.name, positive.n_patients, positive.patients_left) == ("positive", 3, 0)
    assert positive.upper == clopper_pearson_interval(0, 3).upper


def test_multilabel_counts_cases_and_labels_apart():
    rule = Rule(Task.MULTILABEL, (0.5, 0.5))
    reference = np.array([[0.9, 0.9], [0.1, 0.9]])
    fast = np.array([[0.1, 0.1], [0.9, 0.55]])
    got = assess_guard(rule, ("oedema", "effusion"), fast, reference, [0, 1], 0.1)
    # The second case is deferred for its second label, which saves the flip of its first.
    assert (got.flips_unguarded, got.flips_left, got.deferred) == (2, 1, 0.5)
    left = {part.name: (part.n_patients, part.patients_left) for part in got.by_class}
    assert left == {
        "oedema absent": (1, 0),
        "oedema present": (1, 1),
        "effusion absent": (0, 0),
        "effusion present": (2, 1),
    }
    assert np.isnan(next(part for part in got.by_class if part.name == "effusion absent").upper)


def test_a_curve_is_its_bands_on_fresh_cases():
    rng = np.random.default_rng(3)
    reference = rng.beta(0.6, 0.6, 1200)
    fast = np.clip(reference + rng.normal(0, 0.2, 1200), 0, 1)
    units = np.arange(1200) // 2
    cal, fresh = slice(0, 600), slice(600, None)
    policy = GuardPolicy(by_class=True)
    parts = [values[part] for part in (cal, fresh) for values in (fast, reference, units)]
    points = guard_curve(BINARY, NAMES, *parts, (0.005, 0.02, 0.1), policy)
    assert [(p.epsilon, p.delta) for p in points] == [(e, d) for e in (0.005, 0.02, 0.1) for d in (None, 0.05)]
    # 300 patients: 0.005 needs 199 on average in each class, and 598 with confidence.
    assert points[0].band is None or points[0].band > 0
    assert points[1].band is None
    assert points[1].outcome is None
    assert np.isnan(points[1].deferred)
    for point in points:
        asked = GuardPolicy(epsilon=point.epsilon, delta=point.delta)
        band = fit_band(BINARY, NAMES, fast[cal], reference[cal], units[cal], asked)
        assert point.band == band.value
        if point.band is not None:
            assert point.outcome == assess_guard(BINARY, NAMES, *parts[3:], point.band)
            assert point.deferred == point.outcome.deferred > 0
    sure = [p for p in points if p.delta and p.band is not None]
    assert [p.deferred for p in sure] == sorted((p.deferred for p in sure), reverse=True)
    average = guard_curve(BINARY, NAMES, *parts, (0.1,), GuardPolicy(delta=None))
    assert [p.delta for p in average] == [None, 0.05]


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="no cases"):
        assess_guard(BINARY, NAMES, [], [], [], 0.1)
    with pytest.raises(InputError, match="reference"):
        assess_guard(BINARY, NAMES, [0.1], [np.nan], [0], 0.1)
