import dataclasses

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from primum.reporting.decisions import decisions_section
from primum.study.result import StudyResult

from .reading import figure, tables, texts, words


def number(cell: str) -> int:
    return int(cell.split("|")[0].split()[0].replace(",", ""))


def test_the_matrix_of_several_classes_is_that_of_scikit_learn(all_results: dict[str, StudyResult]) -> None:
    result = all_results["ordinal"]
    judged = result.judged
    for table, scores in zip(tables(decisions_section(result)), (judged.reference, judged.candidate)):
        found = [[number(cell) for cell in cells[1:]] for cells in texts(table)]
        assert found == confusion_matrix(judged.labels, scores.argmax(axis=1)).tolist()


def test_changes_stand_in_small_and_a_missing_answer_is_a_column(all_results: dict[str, StudyResult]) -> None:
    original, delivered = tables(decisions_section(all_results["multiclass"]))
    assert original.columns[-1].title == delivered.columns[-1].title == "(none)"
    assert sum(number(cells[-1]) for cells in texts(delivered)) == 2
    assert texts(delivered)[0][-1].endswith("|+2") and sum(number(cells[-1]) for cells in texts(original)) == 0


def test_of_many_classes_the_confusions_that_changed_most(all_results: dict[str, StudyResult]) -> None:
    result = all_results["crowded"]
    (table,) = tables(decisions_section(result))
    moves = [abs(int(cells[4].replace("−", "-"))) for cells in texts(table)]
    assert len(moves) == 20 and moves == sorted(moves, reverse=True) and moves[0] > 0
    right = int((result.judged.candidate.argmax(axis=1) == result.judged.labels).sum())
    assert f"{right:,} by what is delivered" in table.caption


def test_a_row_for_each_label_on_the_cases_where_it_is_known(all_results: dict[str, StudyResult]) -> None:
    result = all_results["multilabel"]
    rows = texts(tables(decisions_section(result))[0])
    labels, scores = result.judged.labels, result.judged.candidate
    for k, at in ((7, 0.3), (9, 0.6), (10, 0.5)):
        known = labels[:, k] >= 0
        table = confusion_matrix(labels[known, k], scores[known, k] >= at)
        assert [number(cell) for cell in rows[k][6:]] == [table[1, 1], table[1, 0], table[0, 1], table[0, 0]]
        assert rows[k][0].endswith(f"called from {at:g}") and number(rows[k][1]) == known.sum()


def test_a_broken_answer_of_a_binary_model_is_wrong_whatever_the_truth(all_results: dict[str, StudyResult]) -> None:
    result = all_results["assessed"]
    judged = result.judged
    broken = judged.candidate.copy()
    sick, well = np.flatnonzero(judged.labels == 1)[0], np.flatnonzero(judged.labels == 0)[0]
    broken[[sick, well]] = np.nan
    section = decisions_section(dataclasses.replace(result, judged=dataclasses.replace(judged, candidate=broken)))
    before, after = tables(decisions_section(result))[1], tables(section)[1]
    assert number(texts(after)[0][2]) == number(texts(before)[0][2]) + 1
    assert number(texts(after)[1][1]) == number(texts(before)[1][1]) + 1
    assert "ranked worst" in words(section)


def test_nine_curves_at_most_and_the_lowest_of_them(all_results: dict[str, StudyResult]) -> None:
    drawn = figure(decisions_section(all_results["multilabel"]))
    assert "Of 13 curves the 9 of the lowest AUROC are drawn" in drawn.caption and not drawn.narrow
    assert drawn.label.count("Delivered, AUROC") == 9


@pytest.mark.parametrize(("wrong", "axes"), [(0, 2), (150, 1)])
def test_the_corner_is_enlarged_where_all_happens_there(
    all_results: dict[str, StudyResult], wrong: int, axes: int
) -> None:
    result = all_results["assessed"]
    labels = result.judged.labels.copy()
    labels[:wrong] = 1 - labels[:wrong]
    drawn = figure(
        decisions_section(dataclasses.replace(result, judged=dataclasses.replace(result.judged, labels=labels)))
    )
    assert drawn.narrow and drawn.draw().count('id="roc-axes_') == axes
