"""The hypervolume agrees with Optuna's own, and with what it means."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from primum.study.hypervolume import hypervolume

REFERENCE = np.array([1.0, 1.1, 1.0])
POINTS = st.lists(st.tuples(*[st.floats(0, 1.3)] * 3), max_size=9).map(lambda p: np.array(p).reshape(-1, 3))


@given(POINTS)
@settings(max_examples=150, deadline=None)
def test_it_agrees_with_an_independent_implementation(points):
    inside = points[(points < REFERENCE).all(axis=1)]
    expected = compute_hypervolume(inside, REFERENCE) if len(inside) else 0.0
    assert np.isclose(hypervolume(points, REFERENCE), expected, atol=1e-12)


@given(POINTS, st.tuples(*[st.floats(0, 0.99)] * 3))
@settings(max_examples=100, deadline=None)
def test_it_grows_with_what_is_better_and_with_nothing_else(points, new):
    before, added = hypervolume(points, REFERENCE), np.vstack([points, new])
    beaten = any((p <= np.array(new)).all() for p in points)
    after = hypervolume(added, REFERENCE)
    assert after >= before - 1e-12
    if beaten:
        assert np.isclose(after, before)
    assert np.isclose(hypervolume(np.array([new]), REFERENCE), np.prod(REFERENCE - np.array(new)))
