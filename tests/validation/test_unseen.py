import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primum.config import ClinicalPolicy, Margins
from primum.task import Task
from primum.validation.auroc import auroc_pair
from primum.validation.gate import Cases, judge
from primum.validation.means import paired_mean_interval, t_quantile
from primum.validation.planning import predict_confirmation
from primum.validation.proportions import wilson_interval_at
from primum.validation.scores import judge_auroc, judge_brier, judge_gain
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


def ranked(rng, n_positive, n_negative, each=1):
    """Labels, patients of `each` cases and a reference whose AUROC is 0.99."""
    held = np.r_[np.ones(n_positive, int), np.zeros(n_negative, int)]
    y, units = np.repeat(held, each), np.repeat(np.arange(held.size), each)
    return y, units, 1 / (1 + np.exp(-(rng.normal(size=y.size) + 3.3 * (y - 0.5))))


@pytest.mark.parametrize(("positives", "each"), [(60, 1), (120, 1), (300, 1), (60, 4)])
def test_positives_scored_as_garbage_that_were_not_drawn_do_not_pass(positives, each):
    """AUROC lower by exactly its margin, in a rare share of the positives; by the other bounds up to 45 % pass."""
    rng, runs, passed = np.random.default_rng(5), 300, np.zeros(2)
    margin, area = 0.02, 0.99018
    policy = ClinicalPolicy(margins=Margins(auroc=margin))
    for _ in range(runs):
        y, units, ref = ranked(rng, positives, 300, each)
        lost = (rng.random(positives + 300) < margin / area)[units] & (y == 1)
        new = np.where(lost, 0.0, ref + rng.normal(0, 1e-3, y.size))
        part = judge_auroc(y, ref, new, units, policy)
        passed += part.outcome is Outcome.NON_INFERIOR, part.beside.get("seen_lower", -1.0) > -margin
    assert passed[0] / runs <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / runs)
    assert passed[1] / runs > 0.05 or positives == 300


def test_patients_of_both_classes_lose_of_both():
    """Who has cases of both may lose the AUROC of both: 2.5 % pass, not those of so many patients of one class."""
    rng, runs, passed = np.random.default_rng(6), 300, 0
    policy = ClinicalPolicy(margins=Margins(auroc=0.02))
    for _ in range(runs):
        units, y = np.repeat(np.arange(250), 2), np.tile([1, 0], 250)
        ref = 1 / (1 + np.exp(-(rng.normal(size=500) + 3.3 * (y - 0.5))))
        lost = (rng.random(250) < 0.0103)[units]
        new = np.where(lost, 1.0 - y, ref + rng.normal(0, 1e-3, 500).clip(-ref, 1 - ref))
        passed += judge_auroc(y, ref, new, units, policy).outcome is Outcome.NON_INFERIOR
    assert passed / runs <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / runs)


def test_the_class_that_fewer_patients_have_decides():
    y, units, ref = ranked(np.random.default_rng(1), 40, 900)
    pair = auroc_pair(y, ref, ref)
    found = UnseenLoss.of_ranking(pair, y, units, 0.95)
    t = t_quantile(0.95, 39)
    assert (found.patients, found.worst, found.spread) == (40, pair.auc_b, 0.0)
    assert found.lower() == pytest.approx(-pair.auc_b * t * t / (40 + t * t))
    assert found.lower() == UnseenLoss.of_ranking(auroc_pair(1 - y, -ref, -ref), 1 - y, units, 0.95).lower()
    y, units, ref = ranked(np.random.default_rng(1), 40, 900, each=3)
    many = UnseenLoss.of_ranking(auroc_pair(y, ref, ref, units), y, units, 0.95)
    assert many.lower() / many.worst == pytest.approx(found.lower() / found.worst)


def test_a_perfect_auroc_of_patients_with_many_cases_counts_what_they_are_worth():
    """One patient holds most of the positives: a Wilson bound of 40 patients is too near."""
    held = np.r_[np.full(1, 200), np.ones(39, int), np.ones(400, int)]
    units, y = np.repeat(np.arange(440), held), np.repeat(np.r_[np.ones(40, int), np.zeros(400, int)], held)
    ref = 0.2 + 0.6 * y
    part = judge_auroc(y, ref, ref, units, ClinicalPolicy(margins=Margins(auroc=0.15)))
    assert part.lower < -0.15 < part.beside["seen_lower"] and part.outcome is Outcome.INCONCLUSIVE


def test_equal_squared_errors_of_few_cases_prove_nothing():
    for n, outcome in ((60, Outcome.INCONCLUSIVE), (400, Outcome.NON_INFERIOR)):
        y = np.arange(n) % 2
        part = judge_brier(y, 0.3 + 0.4 * y, 0.3 + 0.4 * y, np.arange(n), POLICY)
        t = t_quantile(0.95, n - 1)
        assert part.outcome is outcome and part.lower == pytest.approx(-t * t / (n + t * t))


def test_the_odds_of_a_confirmation_know_how_few_of_the_rarer_class_there_will_be():
    y, units, ref = ranked(np.random.default_rng(2), 500, 2000)
    cases = Cases(y, units, {}, np.arange(y.size))
    policy = ClinicalPolicy(margins=Margins(sensitivity=0.2, specificity=0.2, brier=0.2))
    verdict = judge(cases, ref, (ref + 1e-6).clip(0, 1), policy)
    assert verdict.outcome is Outcome.NON_INFERIOR
    # 500 * 0.7 = 350 positives cannot show a margin of 0.01, though 1750 patients could.
    assert predict_confirmation(verdict, 0.7) == 0.0 < 0.9 < predict_confirmation(verdict, 2.0)


def test_a_class_too_small_for_its_auroc_is_insufficient():
    """90 of a class are enough for its rates at 0.05, and even with no change too few for its AUROC at 0.01."""
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1, 2], [900, 900, 90])
    raw = rng.normal(size=(labels.size, 3))
    raw[np.arange(labels.size), labels] += 4
    scores = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    own = Cases(labels, np.arange(labels.size), {}, np.arange(labels.size), task=Task.MULTICLASS, classes=tuple("abc"))
    verdict = judge(own, scores, scores, ClinicalPolicy(margins=Margins(sensitivity=0.05, specificity=0.05)))
    part = verdict.component("auroc[c]")
    assert (part.outcome, verdict.component("sensitivity[c]").outcome) == (Outcome.INSUFFICIENT, Outcome.NON_INFERIOR)
    assert 370 < int(part.reason.split("no change ")[1].split()[0]) < 385 and "90 patients of the rarer" in part.reason
    assert 370 < part.n_would_decide * 90 / 1890 < 386
    assert verdict.outcome is Outcome.NON_INFERIOR and verdict.insufficient == ("class=c",)
    blocked = ClinicalPolicy(margins=Margins(sensitivity=0.05, specificity=0.05), block_on_insufficient=True)
    assert judge(own, scores, scores, blocked).outcome is Outcome.INCONCLUSIVE


def test_a_loss_that_was_seen_is_no_lack_of_patients():
    """Too few patients to exclude an unseen loss, and a loss seen beside: INCONCLUSIVE, which blocks."""
    rng = np.random.default_rng(4)
    site = np.where(np.arange(900) < 840, "A", "B")
    ids = np.arange(900)
    own = Cases(np.zeros((900, 0)), ids, {"site": site}, ids, task=Task.SEGMENTATION, classes=("liver",))
    before = np.full((900, 1), 0.9)
    after = before + rng.normal(0, 0.002, before.shape) - np.where(site == "B", 0.0198, 0.0)[:, None]
    seen = judge(own, before, after, POLICY)
    unseen = judge(own, before, before + rng.normal(0, 0.002, before.shape), POLICY)
    assert [level.outcome for level in seen.subgroups] == [Outcome.NON_INFERIOR, Outcome.INCONCLUSIVE]
    assert [level.outcome for level in unseen.subgroups] == [Outcome.NON_INFERIOR, Outcome.INSUFFICIENT]
    assert seen.outcome is Outcome.INCONCLUSIVE and unseen.outcome is Outcome.NON_INFERIOR
