"""Held-out patients."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.techniques.context import TrainingData
from primum.techniques.training.parts import hold_out


def data(labels, units):
    return TrainingData(np.zeros((len(units), 2), np.float32), np.asarray(labels), np.asarray(units))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 15)), min_size=1, max_size=80), st.floats(0, 0.5))
def test_no_patient_is_on_both_sides_and_no_case_is_lost(cases, share):
    found = data([c for c, _ in cases], [f"p{u}" for _, u in cases])
    fit, held = hold_out(found, share)
    assert sorted([*fit, *held]) == list(range(len(cases))) and len(fit)
    assert not set(found.units[fit]) & set(found.units[held])
    if share == 0:
        assert not len(held)


def test_rare_classes_are_on_both_sides():
    labels = np.array([0] * 200 + [1] * 6)
    fit, held = hold_out(data(labels, [f"p{i}" for i in range(206)]), 0.1)
    assert (labels[fit] == 1).sum() >= 4 and (labels[held] == 1).sum() >= 1
    assert 15 <= len(held) <= 26


def test_other_cases_do_not_change_who_is_held_out():
    units = np.array([f"p{i}" for i in range(400)])
    labels = np.arange(400) % 2
    _, held = hold_out(data(labels, units), 0.2)
    order = np.random.default_rng(0).permutation(400)
    _, again = hold_out(data(labels[order], units[order]), 0.2)
    assert set(units[held]) == set(units[order][again])
    first = np.unique(units)[: len(held)]
    assert len(set(units[held]) & set(first)) < 0.5 * len(held), "names must not decide: they often follow dates"


def test_findings_and_values():
    findings = np.stack([np.arange(40) % 10 == 0, np.full(40, -1)], axis=1).astype(np.int64)
    _, held = hold_out(data(findings, [f"p{i}" for i in range(40)]), 0.25)
    assert (findings[held, 0] == 1).sum() == 1
    _, held = hold_out(data(np.random.default_rng(0).normal(size=(40, 1)), [f"p{i}" for i in range(40)]), 0.25)
    assert len(held) == 10
