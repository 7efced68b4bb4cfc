"""Whether outputs and labels speak of the same classes: clear misfits, weak originals, and few cases."""

from dataclasses import replace

import numpy as np
import pytest

from primum.errors import InputError
from primum.task import Task
from primum.validation.cases import Cases
from primum.validation.fit import Fit, demand_fit, fit_of

KINDS = ("benign", "cyst", "tumour")


def cases_of(task, labels, classes, each=1):
    labels = np.asarray(labels)
    ids = np.arange(len(labels)).astype(str)
    patients = np.array([f"p{i // each}" for i in range(len(labels))])
    return Cases(labels, patients, {}, ids, task=task, classes=classes)


def binary(n, skill, seed=0, each=1):
    """Cases whose score rises (falls, where negative) with the label."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    scores = 1 / (1 + np.exp(-(skill * (2 * labels - 1) + rng.normal(size=n))))
    return cases_of(Task.BINARY, labels, ("well", "sick"), each), scores


def several(n, skill, seed=0, task=Task.MULTICLASS, classes=KINDS):
    """Cases of classes, and probabilities that know them by `skill`."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(classes), size=n)
    logits = skill * np.eye(len(classes))[labels] + rng.normal(size=(n, len(classes)))
    odds = np.exp(logits)
    return cases_of(task, labels, classes), odds / odds.sum(axis=1, keepdims=True)


def findings(n, skill, seed=0):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 3)) + 0.7 * rng.normal(size=(n, 1))
    labels = (hidden > [0, 0.5, 1]).astype(int)
    labels[rng.random((n, 3)) < 0.1] = -1
    scores = 1 / (1 + np.exp(-(skill * hidden + rng.normal(size=(n, 3)))))
    return cases_of(Task.MULTILABEL, labels, ("cold", "flu", "cough")), scores


def test_exchanged_labels_of_two_classes_do_not_fit():
    cases, scores = binary(60, -2)
    found = fit_of(cases, scores)
    assert found.misfit.startswith("ranks 'sick' below 'well' (AUROC 0.0") and not found.notes
    assert not fit_of(*binary(60, 2)).misfit and not fit_of(*binary(60, 2)).notes


def test_few_cases_show_no_misfit_but_are_told():
    found = fit_of(*binary(6, -2))
    assert not found.misfit and "3 and 3 patients" in found.notes[0] and "too few" in found.notes[0]
    assert fit_of(*binary(6, -2), sure=False).misfit, "a study asks its selection part without regard to its size"


def test_the_patient_is_the_unit():
    assert fit_of(*binary(60, -2)).misfit and not fit_of(*binary(60, -2, each=10)).misfit


@pytest.mark.parametrize("n", [6, 20, 60])
def test_no_original_without_skill_is_refused_by_chance(n):
    tasks = (Task.MULTICLASS, Task.ORDINAL)
    for seed in range(300):
        assert not fit_of(*binary(n, 0, seed)).misfit
        assert not fit_of(*findings(n, 0, seed)).misfit
        for task in tasks:
            assert not fit_of(*several(n, 0, seed, task)).misfit


@pytest.mark.parametrize("skill", [0.5, 1.0, 3.0])
def test_weak_originals_fit(skill):
    for seed in range(20):
        for made in (several(200, skill, seed), several(200, skill, seed, Task.ORDINAL), findings(200, skill, seed)):
            assert not fit_of(*made).misfit


@pytest.mark.parametrize("skill", [1.5, 4.0])
@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_outputs_in_another_order_are_named_in_theirs(order, skill):
    for task in (Task.MULTICLASS, Task.ORDINAL):
        cases, scores = several(300, skill, 1, task)
        found = fit_of(cases, scores[:, order])
        assert found.order == tuple(KINDS[k] for k in order) and ", ".join(found.order) in found.misfit
    cases, scores = findings(300, skill, 1)
    assert fit_of(cases, scores[:, order]).order == tuple(cases.classes[k] for k in order)


def test_the_order_is_found_beside_a_class_that_hardly_occurs():
    cases, scores = several(300, 3, 2, classes=("a", "b", "c", "rare"))
    kept = np.flatnonzero(cases.labels < 3).tolist() + np.flatnonzero(cases.labels == 3)[:1].tolist()
    few = cases_of(Task.MULTICLASS, cases.labels[kept], cases.classes)
    assert fit_of(few, scores[kept][:, [1, 0, 2, 3]]).order == ("b", "a", "c", "rare")
    assert not fit_of(few, scores[kept]).misfit


def test_a_shift_of_every_grade_is_no_other_order():
    """An original that calls each grade one too high still ranks them."""
    rng = np.random.default_rng(3)
    truth = rng.integers(4, size=400)
    level = truth + 1 + 0.3 * rng.normal(size=400)
    odds = np.exp(-2 * (level[:, None] - np.arange(4)) ** 2)
    cases = cases_of(Task.ORDINAL, truth, ("none", "mild", "moderate", "severe"))
    assert not fit_of(cases, odds / odds.sum(axis=1, keepdims=True)).order


def test_one_label_the_wrong_way_round():
    cases, scores = findings(300, 3)
    scores[:, 1] = 1 - scores[:, 1]
    found = fit_of(cases, scores)
    assert found.misfit.startswith("ranks cases with 'flu' below those without (AUROC 0.") and not found.order


def test_far_less_than_guessing_does_not_fit():
    cases, _ = several(300, 1, 4)
    always = np.tile([0.0, 0.0, 1.0], (300, 1))
    few = cases_of(Task.MULTICLASS, np.where(np.arange(300) % 20 == 0, 2, np.arange(300) % 2), KINDS)
    assert "far less than guessing" in fit_of(few, always).misfit
    assert not fit_of(cases, always).misfit


def test_values_are_told_and_never_refused():
    rng = np.random.default_rng(5)
    truth = rng.normal(50, 5, (200, 1))
    cases = cases_of(Task.REGRESSION, truth, ("age",))
    assert fit_of(cases, truth + rng.normal(size=(200, 1))) == Fit()
    turned = fit_of(cases, 100 - truth)
    assert not turned.misfit and "correlation -1.00" in turned.notes[0] and "labels' mean" in turned.notes[1]


def test_cases_without_an_answer_are_passed_over():
    cases, scores = binary(60, -2)
    scores[3] = np.nan
    assert fit_of(cases, scores).misfit and fit_of(cases, np.full(60, np.nan)) == Fit()
    assert fit_of(cases_of(Task.BINARY, np.zeros(9, int), ("well", "sick")), scores[:9]) == Fit()


def test_a_misfit_is_an_error_with_what_to_do_and_notes_pass():
    assert demand_fit(Fit(notes=("weak",)), "mend them") == ("weak",)
    with pytest.raises(InputError, match="the original ranks 'a' below 'b'. Mend them"):
        demand_fit(Fit("ranks 'a' below 'b'"), "Mend them")


def test_the_positive_class_is_named_whichever_it_is():
    cases, scores = binary(60, -2)
    first = replace(cases, classes=cases.classes[::-1])
    assert fit_of(cases, scores).misfit.startswith("ranks 'sick' below 'well'")
    assert fit_of(first, scores).misfit.startswith("ranks 'well' below 'sick'")


def test_an_original_that_knows_nothing_of_the_labels_is_told():
    for made in (binary(200, 0, 5), several(200, 0, 2), findings(200, 0, 2)):
        found = fit_of(*made)
        assert not found.misfit and "no better than chance" in found.notes[-1]
    for made in (binary(20, 0, 1), binary(200, 0.5), several(200, 1), findings(200, 1)):
        assert not any("no better than chance" in note for note in fit_of(*made).notes)
