import numpy as np
import pytest

from primum.config import Action, ClinicalPolicy
from primum.task import Task
from primum.validation.cases import Cases
from primum.validation.concordance import NO_ACTION_MAP, concordance
from primum.validation.decisions import rule_for

TRIAGE = (Action(name="home", at=0), Action(name="clinic", at=0.3), Action(name="ward", at=0.7))


def cases_of(labels, task=Task.BINARY, classes=("well", "ill"), patients=None):
    labels = np.asarray(labels)
    ids = np.array([f"c{i}" for i in range(len(labels))])
    return Cases(labels, ids if patients is None else np.asarray(patients), {}, ids, task=task, classes=classes)


def compare(cases, reference, candidate, policy=None):
    policy = policy or ClinicalPolicy()
    rule = rule_for(cases.task, cases.classes, policy)
    return concordance(cases, np.asarray(reference, float), np.asarray(candidate, float), policy, rule)


def test_triage_tiers():
    cases = cases_of([0, 0, 0, 1, 1, 1])
    reference, candidate = [0.1, 0.3, 0.69, 0.7, 0.9, 0.2], [0.1, 0.29, 0.7, 0.7, 0.6, 0.8]
    found = compare(cases, reference, candidate, ClinicalPolicy(actions=TRIAGE))
    assert found.actions == ("home", "clinic", "ward") and found.mapped and found.note == ""
    assert found.table == ((1, 0, 1), (1, 0, 1), (0, 1, 1))
    assert (found.changed, found.patients_changed, found.unchanged.estimate) == (4, 4, pytest.approx(1 / 3))
    well, ill = found.moves
    assert (well.among, well.n, well.up, well.down) == ("well", 3, 1, 1)
    assert (ill.among, ill.n, ill.up, ill.down) == ("ill", 3, 1, 1)
    assert found.weights == "quadratic"


def test_without_a_map_the_two_sides_of_the_threshold_and_it_says_so():
    found = compare(cases_of([0, 1, 1]), [0.2, 0.5, 0.9], [0.2, 0.49, 0.9])
    assert found.actions == ("well", "ill") and not found.mapped and found.note == NO_ACTION_MAP
    assert found.table == ((1, 0), (1, 1)) and found.weights == "none"


def test_no_answer_is_a_change_of_action():
    found = compare(cases_of([0, 1, 1]), [0.2, 0.5, 0.9], [np.nan, 0.6, np.inf])
    assert (found.changed, found.not_finite) == (2, 2)
    assert found.table == ((0, 0), (0, 1))
    assert compare(cases_of([1]), [0.9], [np.nan]).kappa is None


def test_the_unit_is_the_patient():
    labels, scores = np.ones(60, int), np.full(60, 0.9)
    candidate = scores.copy()
    candidate[:6] = 0.1
    alone = compare(cases_of(labels), scores, candidate)
    repeated = compare(cases_of(labels, patients=np.repeat([f"p{i}" for i in range(10)], 6)), scores, candidate)
    assert alone.unchanged.estimate == repeated.unchanged.estimate == 0.9
    assert repeated.patients_changed == 1 and repeated.n_patients == 10
    assert repeated.unchanged.lower < alone.unchanged.lower - 0.1


def test_ordered_grades_move_up_and_down_and_classes_do_not():
    reference, candidate = np.eye(3)[[0, 1, 2, 2]], np.eye(3)[[1, 1, 0, 2]]
    names = ("mild", "moderate", "severe")
    graded = compare(cases_of([0, 1, 2, 2], Task.ORDINAL, names), reference, candidate)
    assert [(m.among, m.up, m.down) for m in graded.moves] == [("mild", 1, 0), ("moderate", 0, 0), ("severe", 0, 1)]
    assert graded.weights == "quadratic"
    classes = compare(cases_of([0, 1, 2, 2], Task.MULTICLASS, names), reference, candidate)
    assert classes.moves == () and classes.weights == "none" and classes.table == graded.table
    assert "no action map" in classes.note
    given = compare(
        cases_of([0, 1, 2, 2], Task.MULTICLASS, names), reference, candidate, ClinicalPolicy(actions=TRIAGE)
    )
    assert "not used" in given.note and not given.mapped


def test_every_label_must_stay():
    cases = cases_of([[0, 1], [1, -1], [0, 0]], Task.MULTILABEL, ("a", "b"))
    found = compare(cases, [[0.1, 0.9], [0.9, 0.1], [0.1, 0.1]], [[0.1, 0.9], [0.9, 0.8], [0.7, 0.1]])
    assert found.changed == 2 and found.table == ((2, 2), (0, 2))
    assert [(m.n, m.up) for m in found.moves] == [(3, 1), (2, 0)]


def test_a_tolerance_makes_values_comparable():
    cases = cases_of([[1.0], [2.0], [3.0]], Task.REGRESSION, ("dose",))
    assert compare(cases, [[1], [2], [3]], [[1.1], [2.6], [3.0]]) is None
    found = compare(cases, [[1], [2], [3]], [[1.1], [2.6], [np.nan]], ClinicalPolicy(tolerance=0.5))
    assert found.changed == 2 and found.not_finite == 1 and "0.5" in found.note
    masks = cases_of(np.zeros((2, 0)), Task.SEGMENTATION, ("organ",))
    assert compare(masks, [[0.9], [0.8]], [[0.9], [0.8]]) is None
