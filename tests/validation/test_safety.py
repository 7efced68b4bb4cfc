import numpy as np
import pytest

from primum.config import ClinicalPolicy
from primum.errors import InputError
from primum.task import Task
from primum.validation.cases import Cases
from primum.validation.decisions import rule_for
from primum.validation.safety import harm_rates, positives_needed, safety
from primum.validation.spec_scores import ScoreStatus
from primum.validation.views import views


def rates_of(labels, reference, candidate, policy=None, task=Task.BINARY, classes=("well", "ill"), patients=None):
    policy = policy or ClinicalPolicy()
    labels, reference, candidate = np.asarray(labels), np.asarray(reference, float), np.asarray(candidate, float)
    ids = np.array([f"c{i}" for i in range(len(labels))])
    cases = Cases(labels, ids if patients is None else np.asarray(patients), {}, ids, task=task, classes=classes)
    rule = rule_for(task, classes, policy)
    return harm_rates(cases, reference, candidate, policy, views(cases, reference, candidate, rule) if rule else ())


def found(positives, lost=0):
    """All positives are found by the original, which also misses 30; the candidate loses some."""
    labels = np.r_[np.ones(positives + 30, int), np.zeros(50, int)]
    reference = np.r_[np.full(positives, 0.9), np.full(30, 0.1), np.full(50, 0.2)]
    candidate = reference.copy()
    candidate[:lost] = 0.1
    return rates_of(labels, reference, candidate)


def test_numbers_needed_without_a_flip():
    assert (positives_needed(0.99, 0.05), positives_needed(0.99, 0.025)) == (299, 368)
    with pytest.raises(InputError):
        positives_needed(1.0)


def test_no_flip_needs_368_positives_that_the_original_finds():
    assert safety(found(368), 0, False).status is ScoreStatus.MET
    short = safety(found(367), 0, False)
    assert short.status is ScoreStatus.INSUFFICIENT and short.needed == 368
    assert short.value == pytest.approx(0.025 ** (1 / 367))
    assert "0 of 367" in short.reason


def test_flips_ask_for_more_and_many_are_not_met():
    some = safety(found(1000, 4), 0, False)
    assert some.status is ScoreStatus.INSUFFICIENT and some.needed > 1000
    assert safety(found(some.needed, round(some.needed * 0.004)), 0, False).status is ScoreStatus.MET
    assert safety(found(1000, 15), 0, False).needed is None
    assert safety(found(1000, 40), 0, False).status is ScoreStatus.NOT_MET


def test_the_unit_is_the_patient():
    (rate,) = rates_of(
        np.ones(40), np.full(40, 0.9), np.r_[[0.1, 0.1], np.full(38, 0.9)], patients=np.repeat(range(10), 4)
    )
    assert (rate.n_patients, rate.harmed) == (10, 1)


def test_a_candidate_without_answers_is_not_safe_whatever_the_bound():
    score = safety(found(1000), 2, False)
    assert score.status is ScoreStatus.NOT_MET and "2 outputs were NaN" in score.reason
    assert "lossless" in safety(found(20), 0, True).reason


def test_the_worst_class_stands_and_a_waived_one_is_left_out():
    labels = np.repeat([0, 1, 2], [400, 400, 10])
    reference = np.eye(3)[labels] * 0.9
    candidate = reference.copy()
    candidate[400:405] = np.eye(3)[0]
    names = ("clear", "benign", "melanoma")
    rates = rates_of(labels, reference, candidate, None, Task.MULTICLASS, names)
    assert [(r.name, r.n_patients, r.harmed) for r in rates] == [
        ("clear", 400, 0),
        ("benign", 400, 5),
        ("melanoma", 10, 0),
    ]
    assert safety(rates, 0, False).reason.startswith("melanoma: 0 of 10")
    waived = ClinicalPolicy(waived_subgroups=("class=melanoma",))
    rates = rates_of(labels, reference, candidate, waived, Task.MULTICLASS, names)
    assert safety(rates, 0, False).reason.startswith("benign: 5 of 400")


def test_nothing_that_the_original_finds_shows_nothing():
    score = safety(rates_of([1, 1, 0], [0.1, 0.1, 0.1], [0.9, 0.9, 0.1]), 0, False)
    assert score.status is ScoreStatus.NOT_ASSESSED and np.isnan(score.value) and score.needed == 368
    assert "0 of 0" in score.reason and np.isnan(score.inputs["upper"])
    assert safety(rates_of([0, 0], [0.1, 0.1], [0.9, 0.1]), 0, False).status is ScoreStatus.NOT_ASSESSED
    assert safety(rates_of([0, 0], [0.1, 0.1], [0.9, 0.1]), 2, False).status is ScoreStatus.NOT_MET


def test_a_class_that_nothing_is_known_of_lends_no_number_and_lets_nothing_be_met():
    labels = np.repeat([0, 1], 400)
    reference = np.eye(3)[labels] * 0.9
    rates = rates_of(labels, reference, reference, None, Task.MULTICLASS, ("clear", "benign", "melanoma"))
    score = safety(rates, 0, False)
    assert score.value == pytest.approx(0.025 ** (1 / 400)) and score.status is ScoreStatus.INSUFFICIENT
    assert "melanoma: no patients with a positive that the original finds" in score.reason and score.needed == 368
    lost = reference.copy()
    lost[:100] = np.eye(3)[1]
    rates = rates_of(labels, reference, lost, None, Task.MULTICLASS, ("clear", "benign", "melanoma"))
    assert safety(rates, 0, False).status is ScoreStatus.NOT_MET


def test_masks_and_values_have_harm_of_their_own():
    (rate,) = rates_of(
        np.zeros((4, 0)), [[0.9, 0.9]] * 4, [[0.9, 0.84], [0.86, 0.9], [np.nan, 0.9], [0.95, 0.95]],
        task=Task.SEGMENTATION,
    )  # fmt: skip
    assert (rate.n_patients, rate.harmed) == (4, 2)
    values = ([[1.0], [2.0], [3.0]], [[1.0], [2.5], [3.0]], [[1.3], [1.9], [np.nan]])
    assert rates_of(*values, task=Task.REGRESSION, classes=("dose",)) == ()
    (rate,) = rates_of(*values, ClinicalPolicy(tolerance=0.2), Task.REGRESSION, ("dose",))
    assert (rate.n_patients, rate.harmed) == (3, 2)
    assert safety((), 0, False).status is ScoreStatus.NOT_ASSESSED


def test_who_has_no_dice_to_lose_shows_nothing_of_safety():
    none = np.zeros((400, 1))
    (rate,) = rates_of(np.zeros((400, 0)), none, none, task=Task.SEGMENTATION, classes=("organ",))
    assert (rate.n_patients, rate.harmed) == (0, 0) and safety((rate,), 0, False).status is ScoreStatus.NOT_ASSESSED
    some = none.copy()
    some[:100] = 0.9
    worse = np.maximum(some - 0.2, 0)
    (rate,) = rates_of(np.zeros((400, 0)), some, worse, task=Task.SEGMENTATION, classes=("organ",))
    assert (rate.n_patients, rate.harmed) == (100, 100)
    assert "100 of 100 patients with more than 0.05 Dice to lose have" in safety((rate,), 0, False).reason


def test_a_cut_is_waived_by_the_name_of_its_grade():
    labels = np.repeat([0, 1, 2], [400, 400, 10])
    scores = np.eye(3)[labels] * 0.9
    waived = ClinicalPolicy(waived_subgroups=("class=severe",))
    rates = rates_of(labels, scores, scores.copy(), waived, Task.ORDINAL, ("none", "mild", "severe"))
    assert not safety(rates, 0, False).reason.startswith(">= severe")
