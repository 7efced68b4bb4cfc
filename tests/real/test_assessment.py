"""Scores, calibration and equal opportunity on real survey participants (NHANES, diabetes)."""

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from primum import Action, Cases, ClinicalPolicy, assess, freeze_threshold, judge, plan_data
from primum.config import OperatingPoint
from primum.validation.spec_scores import ScoreStatus, ValidationMetric

FILE = Path(os.environ.get("PRIMUM_DATA") or "no-data") / "nhanes-2009-2012" / "dev" / "nhanes_dev.csv.gz"
FEATURES = ("Age", "BMI", "BPSysAve", "TotChol", "DirectChol")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not FILE.is_file(), reason="PRIMUM_DATA names no folder with nhanes-2009-2012"),
]


@pytest.fixture(scope="module")
def people():
    """Scores of a logistic regression fitted on every third adult, for the others."""
    with gzip.open(FILE, "rt") as file:
        rows = [
            r for r in csv.DictReader(file) if r["Age"] and float(r["Age"]) >= 20 and r["Diabetes"] in ("Yes", "No")
        ]
    table = np.array([[float(r[name]) if r[name] not in ("", "NA") else np.nan for name in FEATURES] for r in rows])
    table = np.where(np.isnan(table), np.nanmedian(table, axis=0), table)
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    labels = np.array([r["Diabetes"] == "Yes" for r in rows]).astype(int)
    train = np.arange(len(rows)) % 3 == 0
    model = LogisticRegression().fit(table[train], labels[train])
    judged = np.flatnonzero(~train)
    ids = np.array([rows[i]["ID"] for i in judged])
    groups = {name: np.array([rows[i][name] for i in judged]) for name in ("Gender", "Race1")}
    cases = Cases(labels[judged], ids, groups, np.char.add("case ", ids))
    coefficients = np.c_[model.coef_, model.intercept_].ravel()

    def scores(weights):
        return 1 / (1 + np.exp(-(table[judged] @ weights[:-1] + weights[-1])))

    return cases, coefficients, scores


def test_weights_rounded_to_eight_bits_change_little_and_every_figure_says_so(people):
    cases, weights, scores = people
    step = np.abs(weights).max() / 127
    reference, candidate = scores(weights), scores(np.round(weights / step) * step)
    frozen = freeze_threshold(cases.labels, reference, OperatingPoint(specificity=0.8))
    tiers = (Action(name="none", at=0), Action(name="test", at=0.1), Action(name="refer", at=0.3))
    policy = ClinicalPolicy(threshold=frozen.threshold, operating_point=OperatingPoint(specificity=0.8), actions=tiers)
    verdict = judge(cases, reference, candidate, policy)
    found = assess(cases, reference, candidate, policy, verdict, frozen=frozen)
    (calibration,) = found.calibration
    assert calibration.reference.slope == pytest.approx(1, abs=0.15)  # fitted on the same population
    assert calibration.reference.ece < calibration.reference.ece_expected_upper + 0.02
    assert abs(calibration.slope_difference.estimate) < 0.05
    assert found.operating[0].reference.specificity.estimate == pytest.approx(0.8, abs=0.005)
    assert found.score(ValidationMetric.CLINICAL_RELEVANCE).status is ScoreStatus.MET
    assert found.score(ValidationMetric.CLINICAL_RELEVANCE).value > 0.95
    assert {gap.column for gap in found.fairness} == {"Gender", "Race1"}
    assert all(len(benefit.name) > 0 for benefit in found.net_benefit) and found.overall > 0.9


def test_a_harmful_candidate_is_caught_by_the_scores(people):
    cases, weights, scores = people
    reference = scores(weights)
    woman = cases.groups["Gender"] == np.unique(cases.groups["Gender"])[0]
    candidate = np.where(woman, reference * 0.5, reference)
    policy = ClinicalPolicy(threshold=0.12)
    found = assess(cases, reference, candidate, policy, judge(cases, reference, candidate, policy))
    assert found.score(ValidationMetric.SAFETY_SCORE).status is ScoreStatus.NOT_MET
    assert found.score(ValidationMetric.BIAS_SCORE).status is ScoreStatus.NOT_MET
    assert found.score(ValidationMetric.MEDICAL_ACCURACY).status is ScoreStatus.NOT_MET
    assert any("Gender" in item.advice for item in found.recommendations)


def test_the_plan_names_the_races_that_are_too_few(people):
    cases, _, _ = people
    plan = plan_data(ClinicalPolicy(), cases)
    levels = {level.level: level for level in plan.levels}
    assert levels["all"].missing_positives == 0
    assert sum(level.missing_positives > 0 for name, level in levels.items() if name.startswith("Race1")) >= 2
