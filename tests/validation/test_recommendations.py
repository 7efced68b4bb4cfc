from dataclasses import replace

import numpy as np
import pytest

from primum.config import ClinicalPolicy, Margins
from primum.validation.assessment import assess
from primum.validation.gate import judge
from primum.validation.verdict import Outcome


def advice(cases, reference, candidate, policy=None):
    policy = policy or ClinicalPolicy()
    verdict = judge(cases, reference, candidate, policy)
    return verdict, [str(item) for item in assess(cases, reference, candidate, policy, verdict).recommendations]


def said(lines, *words):
    return [line for line in lines if all(word in line for word in words)]


def test_a_clean_result_asks_for_nothing(make_cases):
    margins = Margins(sensitivity=0.02, specificity=0.02, auroc=0.01, brier=0.01)
    rng = np.random.default_rng(0)
    # Scores drawn so that they are calibrated: nothing is to be said of that.
    reference = np.clip(rng.beta(0.6, 0.6, 3000), 0.001, 0.999)
    labels = (rng.random(3000) < reference).astype(int)
    cases = make_cases(labels, groups={"sex": np.array(["f", "m"] * 1500)})
    verdict, lines = advice(
        cases, reference, np.clip(reference + 1e-4 * (reference < 0.4), 0, 1), ClinicalPolicy(margins=margins)
    )
    assert verdict.outcome is Outcome.NON_INFERIOR and lines == []


def test_too_few_cases_name_the_number_and_the_interval(make_cases, scored):
    labels, reference, candidate = scored(120, 1500, lost=1)
    verdict, lines = advice(make_cases(labels), reference, candidate)
    needed = verdict.component("sensitivity").n_would_decide
    (line,) = said(lines, f"about {needed} cases for sensitivity", "in place of 120")
    assert "margin 0.02" in line and "n=120" in line
    assert said(lines, "--guard", "598") and said(lines, "margins", "sensitivity, specificity, auroc, brier")
    assert said(lines, "--group-columns")


def test_harm_says_higher_precision_and_which_subgroup(make_cases, scored):
    labels, reference, candidate = scored(600, 600, lost=120)
    groups = {"site": np.where(np.arange(1200) < 200, "a", np.where(np.arange(1200) % 2, "b", "c"))}
    _, lines = advice(make_cases(labels, groups=groups), reference, candidate)
    assert said(lines, "Do not use this candidate: try a higher precision", "sensitivity")
    assert said(lines, "Do not use this candidate for site=a", "sensitivity")
    assert said(lines, "Look at site=a", "equal-opportunity")


def test_small_subgroups_get_their_number(make_cases, scored):
    labels, reference, candidate = scored(600, 600)
    groups = {"site": np.where(np.arange(1200) < 20, "tiny", "main")}
    _, lines = advice(make_cases(labels, groups=groups), reference, candidate)
    assert said(lines, "Collect 189 patients of site=tiny for sensitivity", "20 are there")


def test_calibration_that_moved_and_calibration_that_never_was(make_cases):
    rng = np.random.default_rng(1)
    p = np.clip(rng.beta(0.6, 0.6, 3000), 0.001, 0.999)
    labels = (rng.random(3000) < p).astype(int)
    logits = np.log(p / (1 - p))
    _, lines = advice(make_cases(labels), p, 1 / (1 + np.exp(-2 * logits)))
    assert said(lines, "Recalibrate before", "slope moved by -") and not said(lines, "original itself")
    sharp = 1 / (1 + np.exp(-3 * logits))
    _, lines = advice(make_cases(labels), sharp, sharp)
    assert said(lines, "The original itself is not calibrated") and not said(lines, "Recalibrate before")


def test_no_answers_come_first_and_cases_without_patients_are_named(make_cases, scored):
    labels, reference, candidate = scored(300, 300)
    candidate[:3] = np.nan
    cases = make_cases(labels, patients=np.full(600, ""), independent=True)
    _, lines = advice(cases, reference, candidate)
    assert lines[0].startswith("Find out why") and "3 of 600" in lines[0]
    assert said(lines, "--patient-column", "declared independent")


@pytest.mark.parametrize("outcome", [Outcome.NOT_ASSESSED])
def test_an_endpoint_that_was_not_judged(make_cases, scored, outcome):
    labels, reference, candidate = scored(50, 50)
    cases = make_cases(labels)
    policy = ClinicalPolicy()
    verdict = judge(cases, reference, candidate, policy)
    parts = tuple(replace(p, outcome=outcome, reason="no variance") for p in verdict.components)
    found = assess(cases, reference, candidate, policy, replace(verdict, components=parts))
    assert said([str(r) for r in found.recommendations], "sensitivity can be judged", "no variance")
