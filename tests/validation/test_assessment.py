import numpy as np
import pytest

from primum.config import Action, ClinicalPolicy, OperatingPoint, ValidationConfig
from primum.errors import InputError
from primum.task import Task
from primum.validation.assessment import assess, nothing_assessed
from primum.validation.cases import Cases
from primum.validation.checklist import ItemStatus, Record
from primum.validation.gate import judge
from primum.validation.operating import freeze_threshold
from primum.validation.spec_scores import ScoreStatus, ValidationMetric


def test_one_call_gathers_everything(make_cases, scored):
    labels, reference, candidate = scored(400, 600, lost=2)
    groups = {"sex": np.array(["f", "m"] * 500)}
    cases = make_cases(labels, groups=groups)
    point = OperatingPoint(specificity=0.9)
    frozen = freeze_threshold(labels, reference, point)
    tiers = (Action(name="home", at=0), Action(name="clinic", at=0.4))
    policy = ClinicalPolicy(threshold=frozen.threshold, operating_point=point, actions=tiers)
    verdict = judge(cases, reference, candidate, policy)
    config = ValidationConfig(accuracy_threshold=0.98)
    records = {Record.TIMINGS: "benchmark.json"}
    found = assess(cases, reference, candidate, policy, verdict, config, records, frozen)
    assert [score.name for score in found.scores] == list(ValidationMetric)
    assert [score.threshold for score in found.scores[:4]] == [0.98, 0.99, 0.9, 0.85]
    known = [score.value for score in found.scores if score.value == score.value]
    assert found.overall == min(known) and found.score(found.overall_of).value == found.overall
    assert found.operating[0].reference.threshold == frozen.threshold and found.operating[0].candidate_own is not None
    assert [(p.name, p.threshold) for p in found.net_benefit] == [("clinic", 0.4)]
    assert found.concordance.actions == ("home", "clinic") and found.frozen is frozen
    assert found.calibration[0].name == "" and len(found.decision_curves) == 1
    assert [gap.column for gap in found.fairness] == ["sex"]
    present = {item.item for item in found.checklist if item.status is ItemStatus.PRESENT}
    assert "performance against the original, by subgroup" in present
    assert any("no such odds" in note for note in found.notes)
    assert found == assess(cases, reference, candidate, policy, verdict, config, records, frozen)


def test_a_reference_without_answers_leaves_everything_not_assessed(make_cases):
    cases, policy = make_cases([0, 1]), ClinicalPolicy()
    reference, candidate = [0.1, np.nan], [0.1, 0.9]
    found = assess(cases, reference, candidate, policy, judge(cases, reference, candidate, policy))
    assert all(score.status is ScoreStatus.NOT_ASSESSED for score in found.scores)
    assert np.isnan(found.overall) and found.overall_of is None and found.calibration == ()
    assert "1 of 2" in found.notes[0]


def test_no_evidence_no_numbers():
    found = nothing_assessed("no data were given", ValidationConfig(accuracy_threshold=0.98))
    assert np.isnan(found.overall) and all(np.isnan(score.value) for score in found.scores)
    assert found.scores[0].threshold == 0.98 and found.scores[0].reason == "no data were given"
    assert str(found.recommendations[0]).startswith("Judge both models on labelled cases")


def of(task, labels, classes):
    ids = np.array([f"c{i}" for i in range(len(labels))])
    groups = {"sex": np.array(["f", "m"] * (len(labels) // 2))}
    return Cases(np.asarray(labels), ids, groups, ids, task=task, classes=classes)


def probabilities(rng, labels, k):
    raw = rng.normal(0, 1, (len(labels), k)) + 2 * np.eye(k)[labels]
    return np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)


@pytest.fixture
def verdict_of(make_cases, scored):
    """A verdict stands in for that of the task: only its outcomes are read."""
    labels, reference, candidate = scored(400, 400)
    return judge(make_cases(labels), reference, candidate, ClinicalPolicy())


@pytest.mark.parametrize(("task", "pairs"), [(Task.MULTICLASS, 3), (Task.ORDINAL, 2)])
def test_classes_and_grades(task, pairs, verdict_of):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    reference = probabilities(rng, labels, 3)
    cases = of(task, labels, ("a", "b", "c"))
    found = assess(cases, reference, reference * 0.999 + 0.001 / 3, ClinicalPolicy(), verdict_of)
    assert len(found.calibration) == len(found.operating) == len(found.decision_curves) == pairs
    assert found.net_benefit == () and np.isnan(found.operating[0].reference.threshold)
    assert found.score(ValidationMetric.CLINICAL_RELEVANCE).status is ScoreStatus.MET
    assert len(found.harm) == pairs and len(found.fairness) == pairs


def test_labels_some_unknown(verdict_of):
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 2, (300, 2))
    labels[:, 1] = -1  # a label that nobody knows asks no question
    reference = rng.uniform(0.01, 0.99, (300, 2))
    found = assess(of(Task.MULTILABEL, labels, ("a", "b")), reference, reference, ClinicalPolicy(), verdict_of)
    assert [pair.name for pair in found.calibration] == ["a"]
    assert found.calibration[0].reference.n == int((labels[:, 0] >= 0).sum())


def test_values_and_masks(verdict_of):
    rng = np.random.default_rng(0)
    values = rng.normal(5, 1, (200, 1))
    cases = of(Task.REGRESSION, values, ("dose",))
    found = assess(cases, values[:, 0] + 0.1, values[:, 0] + 0.11, ClinicalPolicy(tolerance=0.2), verdict_of)
    assert found.score(ValidationMetric.MEDICAL_ACCURACY).status is ScoreStatus.NOT_ASSESSED
    assert found.score(ValidationMetric.CLINICAL_RELEVANCE).status is ScoreStatus.MET
    assert found.harm[0].harmed == 0 and found.calibration == ()
    dice = rng.uniform(0.7, 0.9, (400, 2))
    cases = of(Task.SEGMENTATION, np.zeros((400, 0)), ("organ", "lesion"))
    found = assess(cases, dice, dice - 0.001, ClinicalPolicy(), verdict_of)
    assert found.retention.what == "mean Dice" and found.harm[0].harmed == 0
    assert found.score(ValidationMetric.SAFETY_SCORE).status is ScoreStatus.MET
    assert found.score(ValidationMetric.CLINICAL_RELEVANCE).status is ScoreStatus.NOT_ASSESSED
    dice[7] = np.nan
    assert "1 of 400" in assess(cases, dice, dice, ClinicalPolicy(), verdict_of).notes[0]


def test_scores_that_do_not_fit_are_refused(make_cases, scored, verdict_of):
    with pytest.raises(InputError):
        assess(make_cases([0, 1]), np.zeros((2, 3)), np.zeros((2, 3)), ClinicalPolicy(), verdict_of)
