import numpy as np
import pytest

from primum.config import ClinicalPolicy
from primum.task import Task
from primum.validation.checklist import checklist
from primum.validation.concordance import concordance
from primum.validation.decisions import Rule
from primum.validation.fairness import fairness
from primum.validation.proportions import wilson_interval
from primum.validation.spec_scores import (
    ScoreStatus,
    ValidationMetric,
    absent,
    bias,
    cases_for_accuracy,
    regulatory,
    relevance,
    weakest,
)
from primum.validation.subgroups import SubgroupVerdict
from primum.validation.verdict import Outcome
from primum.validation.views import views

RULE = Rule(Task.BINARY)


def agreed(make_cases, n, changed):
    labels = np.arange(n) % 2
    reference = np.full(n, 0.9)
    candidate = reference.copy()
    candidate[:changed] = 0.1
    return concordance(make_cases(labels), reference, candidate, ClinicalPolicy(), RULE)


@pytest.mark.parametrize(
    ("n", "changed", "status"),
    [(1000, 20, ScoreStatus.MET), (1000, 200, ScoreStatus.NOT_MET), (50, 2, ScoreStatus.INSUFFICIENT)],
)
def test_relevance_is_the_lower_bound_of_concordance(make_cases, n, changed, status):
    found = agreed(make_cases, n, changed)
    score = relevance(found)
    assert score.value == found.unchanged.lower and score.status is status and score.threshold == 0.9
    assert f"{changed} of {n} cases" in score.reason and "no action map" in score.reason


def test_relevance_says_how_many_patients_would_do(make_cases):
    score = relevance(agreed(make_cases, 50, 2))
    assert relevance(agreed(make_cases, score.needed // 25 * 25 + 25, score.needed // 25 + 1)).status is ScoreStatus.MET
    assert relevance(agreed(make_cases, 50, 5)).needed is None
    assert relevance(None).status is ScoreStatus.NOT_ASSESSED


def judged(make_cases, sizes, found, subgroups=()):
    """Bias of levels with `sizes` positives of which the candidate finds `found`; the reference finds all."""
    labels = np.ones(sum(sizes.values()), int)
    groups = np.repeat(list(sizes), list(sizes.values()))
    candidate = np.concatenate([np.r_[np.full(found[k], 0.9), np.full(n - found[k], 0.1)] for k, n in sizes.items()])
    cases = make_cases(labels, groups={"site": groups})
    seen = views(cases, np.full(labels.size, 0.9), candidate, RULE)
    return bias(fairness(cases, seen, ClinicalPolicy()), subgroups)


def group(value, outcome):
    return SubgroupVerdict("site", value, 200, 200, 200, outcome, ())


def test_bias_is_the_smallest_ratio_and_follows_the_subgroups(make_cases):
    sizes, fair = {"a": 200, "b": 200}, [group("a", Outcome.NON_INFERIOR), group("b", Outcome.NON_INFERIOR)]
    met = judged(make_cases, sizes, {"a": 190, "b": 180}, fair)
    assert met.value == pytest.approx(180 / 190) and met.status is ScoreStatus.MET
    assert met.inputs["reference_ratio"] == 1 and met.inputs["change_of_gap"] == pytest.approx(0.05)
    unequal = judged(make_cases, sizes, {"a": 200, "b": 160}, fair)
    assert unequal.status is ScoreStatus.NOT_MET and "lowest for b" in unequal.reason
    harmed = judged(make_cases, sizes, {"a": 190, "b": 180}, [fair[0], group("b", Outcome.INFERIOR)])
    assert harmed.status is ScoreStatus.NOT_MET and "inferior in site=b" in harmed.reason
    open_ = judged(make_cases, sizes, {"a": 190, "b": 180}, [fair[0], group("b", Outcome.INCONCLUSIVE)])
    assert open_.status is ScoreStatus.INSUFFICIENT


def test_small_groups_are_listed_and_never_a_pass(make_cases):
    small = judged(make_cases, {"a": 200, "b": 20}, {"a": 200, "b": 20}, [group("b", Outcome.INSUFFICIENT)])
    assert small.status is ScoreStatus.INSUFFICIENT and np.isnan(small.value) and small.needed == 189
    sizes = {"a": 200, "b": 200, "c": 20}
    mixed = judged(make_cases, sizes, sizes, [group("c", Outcome.INSUFFICIENT)])
    assert mixed.status is ScoreStatus.MET and "INSUFFICIENT, so not part of it: site=c" in mixed.reason
    assert bias((), ()).status is ScoreStatus.NOT_ASSESSED
    dice_only = bias((), [group("a", Outcome.NON_INFERIOR)])
    assert dice_only.status is ScoreStatus.NOT_ASSESSED and "verdict" in dice_only.reason
    assert bias((), [group("a", Outcome.INFERIOR)]).status is ScoreStatus.NOT_MET


def test_the_regulatory_score_has_no_number():
    score = regulatory(checklist({}))
    assert np.isnan(score.value) and np.isnan(score.threshold) and score.status is ScoreStatus.NOT_ASSESSED
    assert sum(score.inputs.values()) == len(checklist({}))


def test_the_weakest_link(make_cases):
    strong, weak = relevance(agreed(make_cases, 1000, 20)), relevance(agreed(make_cases, 50, 5))
    none = absent(ValidationMetric.SAFETY_SCORE, 0.99, "no positives")
    assert weakest([strong, none, weak]) is weak and weakest([none]) is None
    assert np.isnan(none.value)


def test_cases_for_an_absolute_accuracy_of_98_percent():
    assert cases_for_accuracy(1.0, 0.98) == 189
    for observed in (0.995, 0.99):
        n = cases_for_accuracy(observed, 0.98)
        assert wilson_interval(observed * n, n).lower >= 0.98 > wilson_interval(observed * (n - 1), n - 1).lower
    assert cases_for_accuracy(0.98, 0.98) is None
