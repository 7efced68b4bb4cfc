import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from primum.errors import InputError
from primum.task import Task
from primum.validation.cases import Cases
from primum.validation.decisions import Rule
from primum.validation.flip_causes import TRUTH, flip_causes

BINARY = Rule(Task.BINARY)


def spread(n, seed=0):
    """Labels and scores of a reference that is right on most cases and never on the threshold."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    scores = np.clip(0.5 + np.where(labels == 1, 0.2, -0.2) + rng.normal(0, 0.15, n), 0.01, 0.99)
    return labels, np.where(np.abs(scores - 0.5) < 1e-3, 0.6, scores)


def flip(scores, where):
    """A candidate that turns over exactly the decisions at `where`."""
    candidate = scores.copy()
    candidate[where] = 1 - candidate[where]
    return candidate


def level(found, column, value):
    return next(x for x in found.levels if (x.column, x.value) == (column, value))


def test_the_one_flipped_subgroup_ranks_first(make_cases):
    labels, ref = spread(400)
    site = np.array(["A", "B", "C", "D"])[np.arange(400) % 4]
    sex = np.where(np.random.default_rng(1).random(400) < 0.5, "F", "M")
    hit = np.flatnonzero(site == "C")[:20]
    found = flip_causes(make_cases(labels, groups={"sex": sex, "site": site}), ref, flip(ref, hit), BINARY)
    worst = found.levels[0]
    assert (worst.column, worst.value, worst.n, worst.flips) == ("site", "C", 100, 20)
    assert worst.relative_risk == np.inf and worst.p_adjusted < 1e-6
    exact = binomtest(20, 100).proportion_ci(method="exact")
    assert (worst.rate.lower, worst.rate.upper) == pytest.approx((exact.low, exact.high))
    assert level(found, "site", "A").flips == 0 and level(found, "site", "A").relative_risk == 0


def test_relative_risk_and_exact_p_by_hand(make_cases):
    """Fisher's tea tasting: 3 of 4 against 1 of 4, two-sided p = 34/70."""
    labels, ref = np.zeros(8, int), np.linspace(0.1, 0.4, 8)
    groups = {"cup": np.array(["milk"] * 4 + ["tea"] * 4)}
    found = flip_causes(make_cases(labels, groups=groups), ref, flip(ref, [0, 1, 2, 4]), BINARY)
    milk, tea = level(found, "cup", "milk"), level(found, "cup", "tea")
    assert milk.relative_risk == pytest.approx(3) and tea.relative_risk == pytest.approx(1 / 3)
    assert milk.p_value == pytest.approx(34 / 70) == milk.p_adjusted == tea.p_adjusted
    only = level(found, TRUTH, "negative")
    assert np.isnan(only.p_value) and np.isnan(only.relative_risk) and np.isnan(only.p_adjusted)


def test_flips_near_the_threshold_are_expected_and_said_to_be_near(make_cases):
    labels, ref = spread(400)
    nearest = np.argsort(np.abs(ref - 0.5))
    group = np.where(np.isin(np.arange(400), nearest[:40]), "near", "far")
    found = flip_causes(make_cases(labels, groups={"where": group}), ref, flip(ref, nearest[:40]), BINARY)
    assert found.flips == 40 and found.nearest_share == 1 and found.far == ()
    assert [(b.n, b.flips) for b in found.bins] == [(20, 20), (20, 20), (60, 0), (100, 0), (200, 0)]
    assert found.bins[0].largest == pytest.approx(np.sort(np.abs(ref - 0.5))[19])
    near = level(found, "where", "near")
    assert near.flips == 40 == pytest.approx(near.expected)


def test_flips_far_from_the_threshold_are_named_farthest_first(make_cases):
    labels, ref = spread(100)
    order = np.argsort(np.abs(ref - 0.5))
    found = flip_causes(make_cases(labels), ref, flip(ref, order[[2, 30, 99]]), BINARY)
    assert found.far == (f"c{order[99]}", f"c{order[30]}")
    assert found.nearest_share == pytest.approx(1 / 3)


def test_patients_with_several_flips_stay_nameless(make_cases):
    labels, ref = spread(12)
    patients = np.repeat(["anna", "bert", "carl"], 4)
    found = flip_causes(make_cases(labels, patients), ref, flip(ref, [0, 1, 3, 4, 9, 10]), BINARY)
    assert [(r.cases, r.case_ids) for r in found.repeated] == [(4, ("c0", "c1", "c3")), (4, ("c9", "c10"))]
    assert found.clustered and "anna" not in repr(found)


def test_near_misses_are_the_candidates_nearest_that_did_not_flip(make_cases):
    ref = np.array([0.9, 0.8, 0.7, 0.2, 0.1])
    new = np.array([0.4, 0.51, 0.69, 0.45, 0.1])
    found = flip_causes(make_cases([1, 1, 1, 0, 0]), ref, new, BINARY)
    first, second = found.near_misses[:2]
    assert (first.case_id, second.case_id) == ("c1", "c3") and len(found.near_misses) == 4
    assert (first.reference_margin, first.candidate_margin) == pytest.approx((0.3, 0.01))


def test_without_flips_nothing_is_made_up(make_cases):
    labels, ref = spread(50)
    found = flip_causes(make_cases(labels, groups={"sex": np.array(["F", "M"] * 25)}), ref, ref, BINARY)
    assert found.flips == 0 and np.isnan(found.nearest_share) and found.far == found.repeated == ()
    assert all(np.isnan(x.relative_risk) and x.p_value == 1 for x in found.levels)
    assert not found.clustered and all(b.rate.estimate == 0 for b in found.bins)


def test_outputs_that_are_not_finite(make_cases):
    labels, ref = spread(20)
    ref[4] = np.nan
    new = ref.copy()
    new[7] = np.inf
    found = flip_causes(make_cases(labels), ref, new, BINARY)
    assert (found.n, found.left_out, found.flips) == (19, 1, 1)
    assert not {"c4", "c7"} & {m.case_id for m in found.near_misses}


def test_classes_flip_by_their_lead(make_cases):
    ref = np.array([[0.6, 0.3, 0.1], [0.4, 0.35, 0.25], [0.1, 0.2, 0.7]])
    new = np.array([[0.6, 0.3, 0.1], [0.36, 0.39, 0.25], [0.1, 0.2, 0.7]])
    cases = make_cases([0, 0, 2], task=Task.MULTICLASS, classes=("a", "b", "c"))
    found = flip_causes(cases, ref, new, Rule(Task.MULTICLASS, ()))
    assert found.flips == 1 and found.bins[0].flips == 1 and found.bins[0].largest == pytest.approx(0.05)
    assert level(found, TRUTH, "a").flips == 1 and level(found, TRUTH, "c").flips == 0


def test_labels_that_are_not_known_count_for_nothing(make_cases):
    labels = np.array([[1, 0], [1, -1], [-1, -1]])
    ref = np.array([[0.9, 0.2], [0.8, 0.51], [0.51, 0.51]])
    new = np.array([[0.9, 0.6], [0.7, 0.4], [0.4, 0.4]])
    ids = np.array(["c0", "c1", "c2"])
    cases = Cases(labels, ids, {}, ids, task=Task.MULTILABEL, classes=("edema", "mass"))
    found = flip_causes(cases, ref, new, Rule(Task.MULTILABEL, (0.5, 0.5)))
    assert (found.n, found.flips, found.left_out) == (2, 1, 1)
    assert [(m.case_id, m.label) for m in found.near_misses] == [("c1", "edema")]
    assert found.near_misses[0].reference_margin == pytest.approx(0.3)


def test_group_p_values_are_holm_adjusted_and_a_group_without_one_is_no_comparison():
    made = np.random.default_rng(3)
    n = 400
    labels = made.integers(0, 2, n)
    ref = np.where(labels == 1, 0.8, 0.2) + made.normal(0, 0.05, n)
    group = made.choice(["a", "b", "c"], n)
    new = np.where((group == "a") & (made.random(n) < 0.2), 1 - ref, ref)
    ids = np.array([f"c{i}" for i in range(n)])
    found = flip_causes(Cases(labels, ids, {"site": group}, ids), ref, new, Rule(Task.BINARY, (0.5,)))
    known = [level for level in found.levels if np.isfinite(level.p_value)]
    keys = {(level.column, level.p_value): level.p_adjusted for level in known}
    expected = multipletests([p for _, p in keys], method="holm")[1]
    assert list(keys.values()) == pytest.approx(expected)


@given(st.integers(1, 80), st.integers(0, 10_000), st.floats(0, 1))
def test_every_case_and_every_flip_is_counted_once(n, seed, share):
    rng = np.random.default_rng(seed)
    labels, ref = spread(n, seed)
    hit = np.flatnonzero(rng.random(n) < share)
    ids = np.array([f"c{i}" for i in range(n)])
    groups = {"site": rng.choice(["A", "B", "C"], n)}
    found = flip_causes(Cases(labels, ids, groups, ids), ref, flip(ref, hit), BINARY)
    assert found.flips == len(hit)
    assert sum(b.n for b in found.bins) == n and sum(b.flips for b in found.bins) == len(hit)
    sites = [x for x in found.levels if x.column == "site"]
    assert sum(x.n for x in sites) == n and sum(x.flips for x in sites) == len(hit)
    assert sum(x.expected for x in sites) == pytest.approx(len(hit))
    assert len(found.near_misses) == min(10, n - len(hit))


def test_scores_that_do_not_fit(make_cases):
    with pytest.raises(InputError, match="2 cases, 3 reference"):
        flip_causes(make_cases([0, 1]), np.full(3, 0.4), np.full(3, 0.4), BINARY)
