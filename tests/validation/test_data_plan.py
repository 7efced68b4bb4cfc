import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from primum.config import ClinicalPolicy, Margins
from primum.errors import InputError
from primum.task import Task
from primum.validation.cases import Cases
from primum.validation.data_plan import needed_for_power, plan_data, recruits
from primum.validation.gate import judge
from primum.validation.power import power_noninferiority
from primum.validation.verdict import Outcome


@pytest.mark.parametrize(
    ("margin", "discordance", "n"),
    [(0.02, 0.005, 280), (0.02, 0.01, 361), (0.02, 0.02, 518), (0.05, 0.01, 110), (0.01, 0.01, 1040)],
)
def test_sample_sizes_by_exact_power(margin, discordance, n):
    half = discordance / 2
    assert needed_for_power(0.8, half, half, margin) == n
    assert (
        power_noninferiority(n, half, half, margin).power >= 0.8 > power_noninferiority(n - 1, half, half, margin).power
    )


def test_the_power_is_kept_by_larger_samples_in_spite_of_its_saws():
    n = needed_for_power(0.8, 0.01, 0.0, 0.03)
    powers = [power_noninferiority(m, 0.01, 0.0, 0.03).power for m in range(n - 150, n + 200)]
    assert min(powers[150:]) >= 0.8 > powers[149]
    # It does saw: some smaller sample has the power and a larger one has not.
    assert max(powers[:150]) >= 0.8


def test_no_number_reaches_a_loss_beyond_the_margin():
    assert needed_for_power(0.8, 0.03, 0.005, 0.02) is None


@given(st.integers(1, 400), st.floats(0.01, 0.99))
@settings(max_examples=80, deadline=None)
def test_recruits_have_enough_of_the_class_with_the_probability_asked(wanted, share):
    n = recruits(wanted, share, 0.95)
    assert binom.sf(wanted - 1, n, share) >= 0.95 > binom.sf(wanted - 1, n - 1, share)


def test_a_plan_without_data():
    policy = ClinicalPolicy(margins=Margins(sensitivity=0.02, specificity=0.05))
    found = plan_data(policy, loss=0.0025, gain=0.0025, prevalences=(0.2, 0.5), guard=(0.005, 0.05))
    assert (found.sensitivity.for_80, found.sensitivity.without_flip, found.specificity.without_flip) == (280, 189, 73)
    assert found.sensitivity.for_90 > 280 and found.levels == ()
    rare, half = found.recruitment
    assert rare.for_80 == recruits(280, 0.2, 0.975) > 280 / 0.2 and half.for_80 < rare.for_80 < rare.for_90
    assert found.guard.patients == 598
    with pytest.raises(InputError):
        plan_data(policy, prevalences=(1.0,))


def test_the_data_at_hand_by_subgroup_in_patients(make_cases):
    labels = np.repeat([1, 0], [600, 1200])
    patients = np.repeat(np.arange(900), 2).astype(str)
    groups = {"sex": np.where(np.arange(1800) % 600 < 100, "f", "m")}
    found = plan_data(ClinicalPolicy(), make_cases(labels, patients, groups), loss=0.0025, gain=0.0025)
    everyone, f, m = found.levels
    assert [part.level for part in found.levels] == ["all", "sex=f", "sex=m"]
    assert (everyone.power.sensitivity.n, everyone.power.specificity.n, everyone.patients) == (300, 600, 900)
    assert everyone.power.sensitivity.power == pytest.approx(power_noninferiority(300, 0.0025, 0.0025, 0.02).power)
    assert (everyone.missing_positives, everyone.missing_negatives) == (0, 0) and everyone.patients_80 <= 900
    assert (f.power.sensitivity.n, f.power.specificity.n, m.power.sensitivity.n) == (50, 100, 250)
    assert (f.missing_positives, f.missing_negatives, m.missing_positives) == (230, 180, 30)
    assert f.patients_80 == np.ceil(280 / 50 * 900)
    assert f.power.sensitivity.power < 0.01


def test_classes_and_labels_are_planned_one_by_one():
    ids = np.array([f"c{i}" for i in range(60)])
    cases = Cases(np.arange(60) % 3, ids, {}, ids, task=Task.MULTICLASS, classes=("a", "b", "c"))
    found = plan_data(ClinicalPolicy(), cases)
    assert [(part.question, part.power.sensitivity.n) for part in found.levels] == [("a", 20), ("b", 20), ("c", 20)]
    one = Cases(np.ones((60, 1), int), ids, {}, ids, task=Task.MULTILABEL, classes=("a",))
    (level,) = plan_data(ClinicalPolicy(), one).levels
    assert level.power.specificity.n == 0 and level.patients_80 is None


def test_values_and_masks_are_planned_by_what_their_margins_take():
    ids = np.array([f"c{i}" for i in range(60)])
    doses = Cases(np.linspace(0, 8, 60)[:, None], ids, {}, ids, task=Task.REGRESSION, classes=("dose",))
    found = plan_data(ClinicalPolicy(margins=Margins(error=0.5)), doses)
    assert found.sensitivity is None and found.specificity is None and found.levels == ()
    assert found.notes[0].startswith("error[dose]: a margin of 0.5 takes about ") and "worth 60" in found.notes[0]
    assert "no margin was given" in plan_data(ClinicalPolicy(), doses).notes[0]
    with pytest.raises(InputError, match="regression.*no decisions"):
        plan_data(ClinicalPolicy(), doses, guard=(0.005, 0.05))
    masks = Cases(np.zeros((60, 0)), ids, {}, ids, task=Task.SEGMENTATION, classes=("lesion",))
    needed = re.search(
        r"takes about (\d+) patients", plan_data(ClinicalPolicy(margins=Margins(dice=0.02)), masks).notes[0]
    )

    def outcome(patients):
        names, dice = np.arange(patients), np.full((patients, 1), 0.999)
        own = Cases(np.zeros((patients, 0)), names, {}, names, task=Task.SEGMENTATION, classes=("lesion",))
        return judge(own, dice, dice, ClinicalPolicy(margins=Margins(dice=0.02))).outcome

    assert outcome(int(needed.group(1))) is Outcome.NON_INFERIOR and outcome(int(needed.group(1)) // 2) is not outcome(
        10000
    )


@pytest.mark.parametrize("each", [200, 500])
def test_of_several_classes_it_is_said_whether_any_can_show_its_ranking(each):
    names = np.arange(3 * each)
    cases = Cases(np.repeat([0, 1, 2], each), names, {}, names, task=Task.MULTICLASS, classes=("a", "b", "c"))
    told = plan_data(ClinicalPolicy(), cases).notes
    assert f"a {each} (" in told[0] and told[-1].startswith("brier: a margin of 0.01 takes about")
    assert any("can only be INCONCLUSIVE" in text for text in told) is (each == 200)


def test_what_auroc_and_brier_take_is_said_and_is_what_the_gate_takes():
    said = plan_data(ClinicalPolicy(margins=Margins(auroc=0.02))).notes
    needed = int(re.search(r"takes about (\d+) patients of the rarer class", said[0]).group(1))

    def outcome(positives):
        labels = (np.arange(4 * positives) < positives).astype(np.int64)
        scores = np.clip(0.3 + 0.4 * labels + 0.2 * np.sin(np.arange(labels.size)), 0, 1)
        own = Cases(labels, np.arange(labels.size), {}, np.arange(labels.size))
        policy = ClinicalPolicy(margins=Margins(auroc=0.02, sensitivity=0.1, specificity=0.1))
        return judge(own, scores, scores, policy).component("auroc").outcome

    assert outcome(needed) is Outcome.NON_INFERIOR and outcome(needed // 2) is not Outcome.NON_INFERIOR
    few = Cases(np.arange(60) % 3 == 0, np.arange(60) // 2, {}, np.arange(60))
    told = plan_data(ClinicalPolicy(), few).notes
    assert "worth 20, which support" in told[0] and "worth 30" in told[1]
