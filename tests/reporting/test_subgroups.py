import dataclasses

import pytest

from primum.reporting.subgroups import subgroups_section
from primum.study.result import StudyResult

from .reading import tables, texts, words


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("assessed", ["Positives", "Brier score", "Sensitivity", "Specificity", "Outcome"]),
        ("multiclass", ["Brier score", "Accuracy", "Single classes", "Outcome"]),
        ("regression", ["Mean absolute error", "Outcome"]),
        ("unstated", ["Mean absolute error, ejection fraction", "Mean absolute error, wall, cm", "Outcome"]),
        ("segmentation", ["Dice, liver", "Dice, spleen", "Dice, tumour", "Outcome"]),
    ],
)
def test_columns_are_those_of_the_task(all_results: dict[str, StudyResult], name: str, expected: list[str]) -> None:
    table = tables(subgroups_section(all_results[name]))[0]
    assert [c.title for c in table.columns] == ["Group", "Cases", "Patients", *expected, "What would decide"]


def test_single_classes_that_are_open_are_named(all_results: dict[str, StudyResult]) -> None:
    rows = texts(tables(subgroups_section(all_results["multiclass"]))[0])
    assert rows[0][5] == "7 of 8 endpoints non-inferior|insufficient: sensitivity (fusion)"
    assert "and 1 more" in rows[2][5] or "and 2 more" in rows[2][5]


def test_equal_opportunity_before_and_after(all_results: dict[str, StudyResult]) -> None:
    result = all_results["assessed"]
    gap = result.assessment.fairness[1]
    table = tables(subgroups_section(result))[1]
    row = texts(table)[1]
    assert row[1] == f"{gap.reference_gap * 100:.2f} → {gap.candidate_gap * 100:.2f} pp" and row[5].startswith(
        "east|73"
    )
    bare = dataclasses.replace(result, assessment=None)
    assert len(tables(subgroups_section(bare))) == 1


def test_harm_is_flagged_with_what_it_means(all_results: dict[str, StudyResult]) -> None:
    assert "harm, p <0.001" in words(subgroups_section(all_results["crowded"]))
    assert "against no loss at all" in words(subgroups_section(all_results["crowded"]))
    assert "against no loss at all" not in words(subgroups_section(all_results["assessed"]))
