from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from primum.config import ClinicalPolicy, Margins
from primum.errors import InputError
from primum.task import Task
from primum.validation.gate import judge
from primum.validation.planning import plan, predict_confirmation, predict_unchanged
from primum.validation.power import power_noninferiority
from primum.validation.verdict import Basis, Outcome


def test_plan_states_what_cases_can_show():
    got = plan(280, 110, Margins(specificity=0.05), loss=0.0025, gain=0.0025)
    assert got.sensitivity.power == pytest.approx(0.863294, abs=1e-6)
    assert (got.sensitivity.required, got.specificity.required) == (189, 73)
    assert got.sensitivity.smallest_margin == pytest.approx(3.8414588 / (280 + 3.8414588))
    for part in (got.sensitivity, got.specificity):
        below = power_noninferiority(part.n, 0.0025, 0.0025, part.margin_80 - 0.001).power
        assert power_noninferiority(part.n, 0.0025, 0.0025, part.margin_80).power >= 0.8 > below


def test_plan_without_cases():
    got = plan(0, 1, Margins())
    assert np.isnan(got.sensitivity.power)
    assert got.sensitivity.margin_80 is None
    assert got.sensitivity.smallest_margin == 1.0
    assert got.specificity.power == 0.0
    with pytest.raises(InputError):
        plan(-1, 3, Margins())


def test_confirmation_grows_with_the_ratio(make_cases, scored):
    labels, ref, new = scored(200, 300, lost=1, gained=1)
    verdict = judge(make_cases(labels), ref, new, ClinicalPolicy())
    odds = [predict_confirmation(verdict, ratio) for ratio in (0.2, 1.0, 3.0, 10.0)]
    assert odds == sorted(odds)
    assert odds[0] < 0.01
    assert odds[-1] > 0.95
    loss = 1.5 / 201
    expected = power_noninferiority(200, loss, loss, 0.02).power
    expected *= power_noninferiority(300, 0.5 / 301, 0.5 / 301, 0.02).power
    assert 0 < odds[1] <= expected + 1e-12


def test_confirmation_of_the_hopeless_and_the_lossless(make_cases, scored):
    labels, ref, new = scored(200, 300, lost=40)
    verdict = judge(make_cases(labels), ref, new, ClinicalPolicy(), exported=True)
    assert verdict.component("sensitivity").outcome is Outcome.INFERIOR
    assert predict_confirmation(verdict, 5.0) == 0.0
    assert predict_confirmation(replace(verdict, components=verdict.components[1:]), 5.0) == 0.0
    verdict = judge(make_cases([1, 1]), [0.9, 0.8], [0.9, 0.2], ClinicalPolicy(), exported=True)
    assert predict_confirmation(verdict, 5.0) == 0.0
    lossless = judge(make_cases(labels), ref, ref, ClinicalPolicy(), exported=True)
    assert lossless.basis is Basis.NUMERIC
    assert predict_confirmation(lossless, 0.1) == 1.0
    with pytest.raises(InputError):
        predict_confirmation(lossless, 0)


@given(st.integers(0, 6), st.integers(0, 6), st.integers(30, 400), st.integers(30, 400), st.sampled_from((0.5, 1, 2)))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_an_unchanged_candidate_is_foretold_does_not_hang_on_the_one_that_was_judged(
    make_cases, scored, lost, gained, positives, negatives, ratio
):
    labels, ref, new = scored(positives, negatives, lost=lost, gained=gained)
    groups = {"site": np.where(np.arange(len(labels)) % 3, "a", "b")}
    # Scores that differ where no decision does: a candidate that is not lossless, and changes nothing.
    same = np.where(ref >= 0.5, np.minimum(ref + 1e-3, 1), ref)
    changed, unchanged = (judge(make_cases(labels, groups=groups), ref, x, ClinicalPolicy()) for x in (new, same))
    bar = predict_unchanged(changed, ratio)
    assert bar == pytest.approx(predict_unchanged(unchanged, ratio), abs=0.02)
    assert predict_confirmation(unchanged, ratio) <= bar + 1e-12
    # Where hardly anything can pass, more changes help chance along.
    if lost > gained and bar > 0.05:
        assert predict_confirmation(changed, ratio) <= bar + 1e-12


def test_a_subgroup_that_would_fail_lowers_the_odds(make_cases, scored):
    labels, ref, new = scored(400, 400, lost=2)
    alone = predict_confirmation(judge(make_cases(labels), ref, new, ClinicalPolicy()), 2.0)
    where = np.where((ref >= 0.5) != (new >= 0.5), "a", np.where(np.arange(800) % 2, "a", "b"))
    grouped = judge(make_cases(labels, groups={"site": where}), ref, new, ClinicalPolicy())
    assert predict_confirmation(grouped, 2.0) < alone


def _answers(task, rng, n=400):
    """Labels and scores of the original and of a candidate that changes little, and the names of the classes."""
    if task in (Task.MULTICLASS, Task.ORDINAL):
        labels = np.arange(n) % 3
        reference = np.eye(3)[labels] + rng.uniform(0, 1.2, (n, 3))
        reference /= reference.sum(axis=1, keepdims=True)
        candidate = reference + rng.uniform(0, 0.01, (n, 3))
        return labels, reference, candidate / candidate.sum(axis=1, keepdims=True), ("a", "b", "c")
    if task is Task.MULTILABEL:
        labels = np.stack([np.arange(n) % 2, np.arange(n) // 2 % 2], axis=1)
        reference = np.clip(0.25 + 0.5 * labels + rng.uniform(-0.3, 0.3, (n, 2)), 0, 1)
        return labels, reference, np.clip(reference + rng.uniform(-0.01, 0.01, (n, 2)), 0, 1), ("a", "b")
    if task is Task.REGRESSION:
        labels = rng.normal(40, 5, (n, 1))
        reference = labels + rng.normal(0, 1, (n, 1))
        return labels, reference, reference + rng.normal(0, 0.2, (n, 1)), ("hba1c",)
    reference = rng.uniform(0.8, 0.9, (n, 1))
    return np.zeros((n, 0)), reference, reference + rng.uniform(-0.02, 0.02, (n, 1)), ("lesion",)


@pytest.mark.parametrize("task", [t for t in Task if t is not Task.BINARY])
def test_every_task_has_odds_of_its_own_endpoints(task, make_cases):
    labels, reference, candidate, classes = _answers(task, np.random.default_rng(0), 1200)
    cases = make_cases(np.arange(len(labels)) % 2)
    cases = replace(cases, labels=labels, task=task, classes=classes)
    policy = ClinicalPolicy(margins=Margins(sensitivity=0.1, specificity=0.1, error=0.5), tolerance=1.0)
    verdict = judge(cases, reference, candidate, policy)
    assert verdict.outcome is Outcome.NON_INFERIOR and verdict.basis is Basis.STATISTICAL
    odds = [predict_confirmation(verdict, ratio) for ratio in (0.02, 1.0, 3.0)]
    assert odds == sorted(odds) and odds[0] < odds[1] and odds[1] > 0.5
    worse = replace(verdict.components[-1], outcome=Outcome.INFERIOR)
    assert predict_confirmation(replace(verdict, components=(*verdict.components[:-1], worse)), 1.0) == 0.0
    rare = replace(verdict.components[-1], outcome=Outcome.INSUFFICIENT)
    seen = (*verdict.components[:-1], rare)
    assert predict_confirmation(replace(verdict, components=seen), 1.0) > 0.0, "a class too rare decides nothing"


def test_what_has_no_class_with_the_patients_of_its_auroc_is_not_confirmed(make_cases):
    labels, reference, candidate, classes = _answers(Task.MULTICLASS, np.random.default_rng(0), 600)
    cases = replace(make_cases(np.arange(600) % 2), labels=labels, task=Task.MULTICLASS, classes=classes)
    policy = ClinicalPolicy(margins=Margins(sensitivity=0.1, specificity=0.1, brier=0.1, auroc=0.01))
    verdict = judge(cases, reference, candidate, policy)
    aurocs = {part.outcome for part in verdict.components if part.name.startswith("auroc")}
    assert aurocs == {Outcome.INSUFFICIENT} and verdict.outcome is Outcome.INCONCLUSIVE
    assert predict_confirmation(verdict, 1.0) == 0.0
    assert predict_confirmation(verdict, 3.0) > 0.2, "three times as many patients suffice"
    waived = [replace(part, waived=part.outcome is Outcome.INSUFFICIENT) for part in verdict.components]
    assert predict_confirmation(replace(verdict, components=tuple(waived)), 1.0) == 0.0, "no waiver reaches it"


def test_the_rates_of_one_question_share_no_case_and_multiply(make_cases):
    labels, reference, candidate, classes = _answers(Task.MULTILABEL, np.random.default_rng(1))
    cases = replace(make_cases(labels[:, 0]), labels=labels, task=Task.MULTILABEL, classes=classes)
    margins = Margins(sensitivity=0.05, specificity=0.05, auroc=0.5, brier=0.5)
    verdict = judge(cases, reference, candidate, ClinicalPolicy(margins=margins))
    chances = {}
    for part in verdict.components:
        if part.table is not None:
            _, gained, lost, _ = part.table
            rates = [(x + 0.5) / (part.n + 1) for x in (lost, gained)]
            chance = power_noninferiority(part.n, *rates, 0.05).power
            chances[part.view] = chances.get(part.view, 1.0) * chance
    assert set(chances) == {"", "a", "b"}
    assert predict_confirmation(verdict, 1.0) == pytest.approx(min(chances.values()), abs=1e-9)
