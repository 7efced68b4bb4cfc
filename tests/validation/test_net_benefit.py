import numpy as np
import pytest

from primum.config import Action, ClinicalPolicy
from primum.task import Task
from primum.validation.cases import Cases
from primum.validation.decisions import rule_for
from primum.validation.net_benefit import decision_curve, net_benefit, net_benefits
from primum.validation.views import View, views


def view_of(labels, reference, candidate):
    labels, reference, candidate = np.array(labels), np.array(reference, float), np.array(candidate, float)
    calls = [(np.nan_to_num(s) >= 0.5).astype(int) for s in (reference, candidate)]
    return View("", np.arange(labels.size), labels, reference, candidate, *calls)


def test_true_positives_less_weighted_false_alarms():
    # Vickers and Elkin's formula by hand: at 0.2 a false alarm costs a quarter of a true positive.
    view = view_of([1, 1, 0, 0, 0], [0.9, 0.1, 0.3, 0.1, 0.1], [0.9, 0.2, 0.3, 0.2, 0.1])
    found = net_benefit("", view, np.arange(5), 0.2)
    assert found.reference == pytest.approx(1 / 5 - 1 / 5 * 0.25)
    assert found.candidate == pytest.approx(2 / 5 - 2 / 5 * 0.25)
    assert found.treat_all == pytest.approx(2 / 5 - 3 / 5 * 0.25)
    assert found.difference.estimate == pytest.approx(found.candidate - found.reference)


def test_no_answer_is_the_wrong_call():
    view = view_of([1, 0], [0.9, 0.1], [np.nan, np.nan])
    found = net_benefit("", view, np.arange(2), 0.5)
    assert (found.reference, found.candidate) == (0.5, -0.5)


def test_no_changed_decision_is_degenerate_and_repeats_are_patients():
    view = view_of([1, 0, 1, 0], [0.9, 0.1, 0.8, 0.2], [0.8, 0.2, 0.9, 0.1])
    assert net_benefit("", view, np.arange(4), 0.5).difference.degenerate
    labels = np.tile([1, 0], 50)
    reference = np.where(labels == 1, 0.9, 0.1)
    candidate = reference.copy()
    candidate[:20] = 0.4
    view = view_of(labels, reference, candidate)
    as_cases = net_benefit("", view, np.arange(100), 0.5).difference
    by_patient = net_benefit("", view, np.repeat(np.arange(10), 10), 0.5).difference
    assert by_patient.lower < as_cases.lower and by_patient.degrees_of_freedom == 9


def test_points_are_the_action_map_or_the_decision_thresholds():
    ids = np.array([f"c{i}" for i in range(6)])

    def points(labels, scores, policy, task=Task.BINARY, classes=("a", "b")):
        cases = Cases(np.array(labels), ids, {}, ids, task=task, classes=classes)
        rule = rule_for(task, classes, policy)
        return [(p.name, p.threshold) for p in net_benefits(cases, views(cases, scores, scores, rule), policy)]

    labels, scores = [0, 1, 0, 1, 0, 1], np.linspace(0.1, 0.9, 6)
    assert points(labels, scores, ClinicalPolicy(threshold=0.3)) == [("", 0.3)]
    tiers = (Action(name="home", at=0), Action(name="clinic", at=0.2), Action(name="ward", at=0.6))
    assert points(labels, scores, ClinicalPolicy(actions=tiers)) == [("clinic", 0.2), ("ward", 0.6)]
    two, table = np.stack([labels, labels], 1), np.stack([scores, scores], 1)
    policy = ClinicalPolicy(thresholds={"b": 0.7})
    assert points(two, table, policy, Task.MULTILABEL) == [("a", 0.5), ("b", 0.7)]
    assert points(labels, np.stack([scores, 1 - scores], 1), ClinicalPolicy(), Task.MULTICLASS) == []


def test_the_curve_passes_through_the_points():
    view = view_of([1, 1, 0, 0, 0], [0.9, 0.1, 0.3, 0.1, 0.1], [0.9, 0.2, 0.3, 0.2, 0.1])
    curve = decision_curve(view)
    at = curve.thresholds.index(0.2)
    point = net_benefit("", view, np.arange(5), 0.2)
    assert (curve.reference[at], curve.candidate[at]) == pytest.approx((point.reference, point.candidate))
    assert curve.treat_all[0] == pytest.approx(0.4 - 0.6 * 0.01 / 0.99)
    assert len(curve.thresholds) == 99
