from dataclasses import replace

import numpy as np
import pytest

from primum.config import ClinicalPolicy
from primum.task import Task
from primum.validation.cases import Cases
from primum.validation.decisions import rule_for
from primum.validation.gate import judge
from primum.validation.retention import medical_accuracy, retention
from primum.validation.shares import ratio_interval
from primum.validation.spec_scores import ScoreStatus, cases_for_accuracy
from primum.validation.verdict import Outcome


def kept(cases, reference, candidate):
    policy = ClinicalPolicy()
    rule = rule_for(cases.task, cases.classes, policy)
    return retention(cases, np.asarray(reference, float), np.asarray(candidate, float), policy, rule)


def cases_of(labels, task, classes):
    ids = np.array([f"c{i}" for i in range(len(labels))])
    return Cases(np.asarray(labels), ids, {}, ids, task=task, classes=classes)


def test_accuracy_of_the_candidate_over_the_original(make_cases, scored):
    labels, reference, candidate = scored(300, 300, lost=6, gained=2)
    found = kept(make_cases(labels), reference, candidate)
    right = [((s >= 0.5) == labels) for s in (candidate, reference)]
    table = [int((right[0] == a).__and__(right[1] == b).sum()) for a, b in ((1, 1), (1, 0), (0, 1), (0, 0))]
    expected = ratio_interval(*table)
    assert (found.ratio.lower, found.ratio.upper) == (expected.lower, expected.upper)
    assert found.ratio.estimate == pytest.approx(right[0].mean() / right[1].mean())


def test_status_follows_bound_and_endpoints(make_cases, scored):
    policy = ClinicalPolicy()

    def score(*changes, threshold=0.95, **more):
        labels, reference, candidate = scored(*changes, **more)
        cases = make_cases(labels)
        verdict = judge(cases, reference, candidate, policy)
        return medical_accuracy(kept(cases, reference, candidate), verdict, threshold), verdict

    met, _ = score(1500, 1500, lost=2, gained=1)
    assert met.status is ScoreStatus.MET and met.value == met.inputs["lower"] >= 0.95
    assert score(1500, 1500, lost=2, threshold=0.9999)[0].status is ScoreStatus.INSUFFICIENT
    few, verdict = score(60, 60, lost=1)
    assert few.status is ScoreStatus.INSUFFICIENT and few.needed == max(
        part.n_would_decide for part in verdict.components if part.n_would_decide
    )
    harmed, verdict = score(100, 5000, lost=30)
    assert harmed.inputs["lower"] > 0.98  # hidden behind the many healthy
    assert harmed.status is ScoreStatus.NOT_MET and "INFERIOR: sensitivity" in harmed.reason
    unknown = replace(verdict, components=tuple(replace(p, outcome=Outcome.NOT_ASSESSED) for p in verdict.components))
    assert medical_accuracy(kept_of(scored, make_cases), unknown, 0.95).status is ScoreStatus.NOT_ASSESSED


def kept_of(scored, make_cases):
    labels, reference, candidate = scored(100, 5000, lost=1)
    return kept(make_cases(labels), reference, candidate)


def test_absolute_accuracy_is_shown_with_what_a_gate_on_it_would_take(make_cases):
    labels = np.arange(200) % 2
    scores = np.where(labels == 1, 0.9, 0.1)
    scores[:2] = 0.5 + (scores[:2] < 0.5) * 0.1 - (scores[:2] > 0.5) * 0.1
    cases = make_cases(labels)
    score = medical_accuracy(
        kept(cases, scores, scores), judge(cases, scores, scores, ClinicalPolicy(), exported=True), 0.98
    )
    assert score.status is ScoreStatus.MET and "lossless" in score.reason
    assert f"would take {cases_for_accuracy(0.99, 0.98)} independent" in score.reason
    assert score.inputs["candidate_lower"] < 0.98


def test_labels_count_one_decision_each():
    labels = [[0, 1], [1, -1], [0, 0]]
    found = kept(cases_of(labels, Task.MULTILABEL, ("a", "b")), [[0.1, 0.9]] * 3, [[0.1, 0.9], [0.9, 0.9], [0.1, 0.1]])
    assert (found.reference, found.candidate) == (3 / 5, 1.0) and found.what == "label decisions"


def test_dice_and_values():
    cases = cases_of(np.zeros((200, 0)), Task.SEGMENTATION, ("organ", "lesion"))
    rng = np.random.default_rng(0)
    reference = rng.uniform(0.6, 0.95, (200, 2))
    candidate = reference * 0.97 + rng.normal(0, 0.01, (200, 2))
    found = kept(cases, reference, candidate)
    assert found.ratio.lower < 0.97 < found.ratio.upper and found.ratio.upper - found.ratio.lower < 0.01
    candidate[3] = np.nan
    assert kept(cases, reference, candidate).candidate < found.candidate
    same = kept(cases, reference, reference)
    assert same.ratio.estimate == 1 and np.isnan(same.ratio.lower) and same.reason
    values = cases_of([[1.0], [2.0]], Task.REGRESSION, ("dose",))
    assert kept(values, [[1], [2]], [[1], [2]]) is None
    assert medical_accuracy(None, None, 0.95).status is ScoreStatus.NOT_ASSESSED


@pytest.mark.parametrize("after", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("threshold", [0.5, 0.98])
def test_without_dice_of_the_original_there_is_nothing_to_retain(after, threshold):
    cases = cases_of(np.zeros((40, 0)), Task.SEGMENTATION, ("liver",))
    reference, candidate = np.zeros((40, 1)), np.full((40, 1), after)
    verdict = judge(cases, reference, candidate, ClinicalPolicy())
    found = medical_accuracy(kept(cases, reference, candidate), verdict, threshold)
    assert found.status is ScoreStatus.NOT_ASSESSED and np.isnan(found.value)
    assert "mean Dice is 0" in found.reason and found.inputs["candidate"] == after


@pytest.mark.parametrize("level", [0.0, 0.9])
def test_a_lossless_export_without_a_bound_has_no_score(level):
    cases = cases_of(np.zeros((40, 0)), Task.SEGMENTATION, ("liver",))
    dice = np.full((40, 1), level)
    verdict = judge(cases, dice, dice, ClinicalPolicy(), exported=True)
    assert verdict.outcome is Outcome.NON_INFERIOR
    found = medical_accuracy(kept(cases, dice, dice), verdict, 0.98)
    assert found.status is ScoreStatus.NOT_ASSESSED and np.isnan(found.value) and found.reason
