import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primum.config import ClinicalPolicy, Margins
from primum.task import Task
from primum.validation.gate import Cases, judge
from primum.validation.means import paired_mean_interval, t_quantile
from primum.validation.proportions import wilson_interval_at
from primum.validation.scores import judge_gain
from primum.validation.unseen import UnseenLoss
from primum.validation.verdict import Outcome

POLICY = ClinicalPolicy(margins=Margins(dice=0.02, error=0.5), tolerance=2.0)


def bound(gains, worst, units=None):
    clusters = np.arange(len(gains)) if units is None else units
    found = paired_mean_interval(gains, 0.95, clusters)
    return UnseenLoss.of(found, len(gains), clusters, worst)


@given(st.integers(3, 400), st.data())
def test_of_losses_of_one_it_is_wilsons_bound(n, data):
    lost = data.draw(st.integers(0, n - 1))
    gains = -(np.arange(n) < lost).astype(float)
    wilson = wilson_interval_at(lost, n, t_quantile(0.95, n - 1), 0.95)
    assert -bound(gains, 1.0).lower() == pytest.approx(wilson.upper, abs=1e-9)


@given(st.integers(2, 60), st.floats(0.01, 100), st.integers(0, 2**32))
def test_scales_with_the_unit_and_falls_with_the_worst_loss(n, scale, seed):
    gains = np.random.default_rng(seed).uniform(-1, 1, n)
    one = bound(gains, 2.0)
    assert bound(gains * scale, 2.0 * scale).lower() == pytest.approx(scale * one.lower())
    assert bound(gains, 3.0).lower() < one.lower() <= gains.mean()
    assert one.lower(4 * n) > one.lower()


def test_several_cases_of_a_patient_show_no_more_than_one():
    gains = np.random.default_rng(3).normal(0, 0.1, 30)
    once = bound(gains, 1.0)
    many = bound(np.repeat(gains, 5), 1.0, np.repeat(np.arange(30), 5))
    assert many.lower() == pytest.approx(once.lower())


def segmented(n):
    return Cases(np.zeros((n, 0)), np.arange(n), {}, np.arange(n), task=Task.SEGMENTATION, classes=("liver",))


@pytest.mark.parametrize(("n", "outcome"), [(1, Outcome.INCONCLUSIVE), (60, Outcome.INCONCLUSIVE),
                                            (400, Outcome.NON_INFERIOR)])  # fmt: skip
def test_equal_dice_of_few_cases_proves_nothing(n, outcome):
    dice = np.full((n, 1), 0.9)
    verdict = judge(segmented(n), dice, dice, POLICY)
    part = verdict.components[0]
    assert (verdict.outcome, part.outcome) == (outcome, outcome)
    assert part.lower < 0 < part.upper
    if n > 1:
        t = t_quantile(0.95, n - 1)
        assert part.lower == pytest.approx(-0.9 * t * t / (n + t * t))
    exported = judge(segmented(n), dice, dice, POLICY, exported=True)
    assert exported.outcome is Outcome.NON_INFERIOR


def test_the_number_that_would_decide_decides():
    dice = np.full((60, 1), 0.9)
    needed = judge(segmented(60), dice, dice, POLICY).components[0].n_would_decide
    for n, outcome in ((needed - 1, Outcome.INCONCLUSIVE), (needed, Outcome.NON_INFERIOR)):
        dice = np.full((n, 1), 0.9)
        assert judge(segmented(n), dice, dice, POLICY).outcome is outcome


@pytest.mark.parametrize(("n", "outcome"), [(1, Outcome.NOT_ASSESSED), (60, Outcome.INCONCLUSIVE),
                                            (900, Outcome.NON_INFERIOR)])  # fmt: skip
def test_equal_values_of_few_cases_prove_nothing(n, outcome):
    labels = np.linspace(80, 140, n)
    own = Cases(labels, np.arange(n), {}, np.arange(n), task=Task.REGRESSION, classes=("hb",))
    verdict = judge(own, labels + 3, labels + 3, POLICY)
    assert verdict.outcome is outcome
    assert judge(own, labels + 3, labels + 3, POLICY, exported=True).outcome is Outcome.NON_INFERIOR


def test_of_agreement_95_percent_of_patients_must_be_shown():
    labels = np.linspace(80, 140, 60)
    own = Cases(labels, np.arange(60), {}, np.arange(60), task=Task.REGRESSION, classes=("hb",))
    part = judge(own, labels, labels + 0.1, POLICY).component("agreement")
    assert part.lower > -POLICY.tolerance and part.outcome is Outcome.INCONCLUSIVE
    assert part.n_would_decide == 72 and "95 %" not in part.reason and "5 %" in part.reason


@pytest.mark.parametrize("n", [30, 60, 100, 250])
@pytest.mark.parametrize("lost", [0.025, 0.05, 0.2])
@pytest.mark.parametrize("per_patient", [1, 4])
def test_a_rare_large_loss_that_was_not_drawn_does_not_pass(n, lost, per_patient):
    """Mean Dice lower by exactly the margin, in a few patients: 2.5 % may pass, and 26 % did for t (n = 60, 2.5 %)."""
    rng = np.random.default_rng(11)
    runs, passed = 400, 0
    units = np.repeat(np.arange(n), per_patient)
    for _ in range(runs):
        hit = (rng.random(n) < lost)[units]
        before = np.full(units.size, 0.9)
        after = before - np.where(hit, 0.02 / lost, 0.0) + rng.normal(0, 0.002, units.size)
        part = judge_gain("dice", before, after, units, POLICY, worst=0.9)
        passed += part.outcome is Outcome.NON_INFERIOR
    assert passed / runs <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / runs)
