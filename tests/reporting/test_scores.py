import dataclasses
from math import nan

from primum.reporting.scores import scores_section
from primum.study.result import StudyResult
from primum.validation.assessment import nothing_assessed
from primum.validation.checklist import ItemStatus

from .reading import tables, texts, words


def test_each_score_stands_beside_its_definition(all_results: dict[str, StudyResult]) -> None:
    result = all_results["assessed"]
    rows = texts(tables(scores_section(result))[0])
    assert [cells[0] for cells in rows] == [
        "Medical accuracy", "Safety score", "Clinical relevance", "Bias score", "Regulatory compliance",
    ]  # fmt: skip
    assert [cells[2] for cells in rows] == ["95%", "99%", "90%", "85%", "–"]
    for cells, score in zip(rows, result.assessment.scores):
        assert cells[4] == score.definition
    assert rows[4][3] == "checklist below" and rows[4][1] == "–"


def test_the_overall_never_stands_without_its_components(all_results: dict[str, StudyResult]) -> None:
    found = all_results["assessed"].assessment
    said = words(scores_section(all_results["assessed"]))
    line = next(line for line in said.splitlines() if line.startswith("Overall"))
    name = found.overall_of.value.replace("_", " ")
    assert line.startswith(f"Overall {found.overall * 100:.2f}%: the weakest link, {name}, of medical accuracy")
    assert all(f"{s.value * 100:.2f}%" in line for s in found.scores if s.value == s.value)


def test_advice_of_one_kind_is_folded_after_three(all_results: dict[str, StudyResult]) -> None:
    section = scores_section(all_results["multilabel"])
    shown, more = tables(section)[1:3]
    assert sum(cells[0].startswith("Collect") for cells in texts(shown)) == 3 and not shown.fold
    assert any(cells[0].startswith("Guard the candidate") for cells in texts(shown))
    assert len(shown.rows) + len(more.rows) == len(all_results["multilabel"].assessment.recommendations)
    assert more.fold and "sensitivity of Atelectasis" in words(section) and "sensitivity[" not in words(section)


def test_the_checklist_is_shown_whole_and_signs_nothing(all_results: dict[str, StudyResult]) -> None:
    result = all_results["assessed"]
    rows = texts(tables(scores_section(result))[-1])
    assert len(rows) == len(result.assessment.checklist)
    wanted = sum(item.status is ItemStatus.SIGN_OFF for item in result.assessment.checklist)
    assert sum("human sign-off" in cells[2] for cells in rows) == wanted > 0
    assert "signs nothing" in words(scores_section(result))


def test_what_was_not_assessed_has_no_number(all_results: dict[str, StudyResult]) -> None:
    result = all_results["proven"]
    assert "was not assessed" in words(scores_section(result))
    empty = dataclasses.replace(result, assessment=nothing_assessed("no data were given"))
    said = words(scores_section(empty))
    assert "Overall: no score could be assessed" in said and "No data were given." in said
    assert str(nan) not in said.split()
