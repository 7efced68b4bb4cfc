import numpy as np
import pytest

from primum.config import ClinicalPolicy
from primum.validation.fairness import equal_opportunity, fairness
from primum.validation.views import View


def view_of(labels, reference_calls, candidate_calls):
    labels = np.array(labels)
    scores = [np.asarray(c, float) for c in (reference_calls, candidate_calls)]
    return View(
        "", np.arange(labels.size), labels, *scores, *(np.asarray(c) for c in (reference_calls, candidate_calls))
    )


def test_as_fairlearn(oracles):
    item = oracles[0]["open.fairness.fairlearn"]
    given, expected = item["inputs"], item["expected"]
    perfect = given["y_true"]
    view = view_of(given["y_true"], perfect, given["y_pred"])
    found = equal_opportunity("sex", view, np.array(given["group"]), np.arange(len(perfect)))
    assert {rate.level: rate.candidate for rate in found.levels} == pytest.approx(expected["tpr"])
    assert found.candidate_gap == pytest.approx(expected["equal_opportunity_difference"])
    assert found.candidate_ratio == pytest.approx(0.5 / 0.8)
    assert (found.reference_gap, found.reference_ratio) == (0, 1)
    assert found.change == pytest.approx(0.3) and found.worst == "M"


def test_small_levels_are_named_and_not_compared():
    labels = np.ones(400, int)
    groups = np.array(["a"] * 195 + ["b"] * 195 + ["c"] * 10)
    calls = np.ones(400, int)
    calls[390:] = 0
    calls[:39] = 0
    found = equal_opportunity("site", view_of(labels, np.ones(400, int), calls), groups, np.arange(400), 189)
    assert found.insufficient == ("c",) and found.worst == "a"
    assert found.candidate_ratio == pytest.approx(0.8)
    few = equal_opportunity("site", view_of(labels, calls, calls), groups, np.arange(400), 200)
    assert np.isnan(few.candidate_ratio) and few.worst == "" and few.insufficient == ("a", "b", "c")


def test_patients_are_counted_and_levels_without_positives_left_out(make_cases):
    labels = np.r_[np.ones(400, int), np.zeros(10, int)]
    groups = np.r_[np.repeat(["a", "b"], 200), np.repeat(["healthy"], 10)]
    patients = np.r_[np.repeat(np.arange(100), 4), np.arange(100, 110)].astype(str)
    cases = make_cases(labels, patients, {"site": groups})
    calls = labels.copy()
    view = View("", np.arange(410), labels, labels * 1.0, labels * 1.0, calls, calls)
    (found,) = fairness(cases, (view,), ClinicalPolicy())
    assert [(rate.level, rate.patients_positive, rate.assessable) for rate in found.levels] == [
        ("a", 50, False),
        ("b", 50, False),
    ]
    assert found.required == 189


def test_nobody_found_anywhere_has_no_ratio():
    view = view_of([1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0])
    found = equal_opportunity("sex", view, np.array(["f", "f", "m", "m"]), np.arange(4))
    assert np.isnan(found.candidate_ratio) and found.candidate_gap == 0
