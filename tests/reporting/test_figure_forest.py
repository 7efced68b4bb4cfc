import dataclasses
from itertools import pairwise

import pytest

from primum.reporting.figure_forest import MOST_ROWS, axis_of, draw, fitting, rows_of
from primum.study.result import StudyResult
from primum.task import Task
from primum.validation.verdict import Outcome


def test_groups_follow_the_endpoints_with_their_brier_score(all_results: dict[str, StudyResult]) -> None:
    rows = rows_of(all_results["assessed"].verdict)
    assert [r.label for r in rows[:5]] == ["Brier score", "Sensitivity", "Specificity", "AUROC", "sex"]
    assert rows[5].label == "F, Brier (n = 826)" and rows[5].indent


def test_many_classes_show_in_groups_only_where_they_are_worse(all_results: dict[str, StudyResult]) -> None:
    verdict = all_results["multiclass"].verdict
    quiet = rows_of(verdict)
    assert not any(r.label.startswith("F, fusion") for r in quiet)
    level = verdict.subgroups[0]
    worse = tuple(
        dataclasses.replace(p, outcome=Outcome.INFERIOR) if p.view == "fusion" else p for p in level.components
    )
    loud = dataclasses.replace(verdict, subgroups=(dataclasses.replace(level, components=worse),))
    assert any(r.label.startswith("F, fusion, sens.") for r in rows_of(loud))


def test_what_does_not_fit_gives_way_but_never_what_is_worse(all_results: dict[str, StudyResult]) -> None:
    rows = rows_of(all_results["hostile"].verdict)
    kept = fitting(rows)
    worse = [r for r in rows if r.part and r.part.outcome is Outcome.INFERIOR]
    assert len(rows) > MOST_ROWS >= len(kept) and worse and all(r in kept for r in worse)
    assert all(r.part is not None or after.part is not None for r, after in pairwise(kept)), "no empty heading"
    assert fitting(rows[:10]) == rows[:10]


def test_a_regression_is_drawn_in_multiples_of_its_margins(all_results: dict[str, StudyResult]) -> None:
    assert axis_of(Task.REGRESSION).factor is None and axis_of(Task.BINARY).factor == 100
    verdict = all_results["regression"].verdict
    svg = draw(rows_of(verdict), axis_of(Task.REGRESSION))
    assert "Multiples of the margin" in svg and ">−1<" in svg
    assert rows_of(all_results["unstated"].verdict) == [], "without margins there is nothing to scale by"


@pytest.mark.parametrize("name", ["crowded", "multiclass", "hostile"])
def test_labels_leave_the_plot_alone(all_results: dict[str, StudyResult], name: str) -> None:
    assert max(len(r.label) for r in rows_of(all_results[name].verdict) if r.indent) <= 31


def test_grades_are_drawn_with_their_own_score(all_results: dict[str, StudyResult]) -> None:
    verdict = all_results["ordinal"].verdict
    labels = [r.label for r in rows_of(verdict)]
    assert "Ranked probability score" in labels and not any("Brier" in label for label in labels)
    own = [label for label in labels if ", RPS (n = " in label]
    assert own and "(RPS)" in axis_of(Task.ORDINAL).title
    assert max(len(label) for label in own) <= 31
    svg = draw(rows_of(verdict), axis_of(Task.ORDINAL))
    assert "Brier" not in svg and "RPS" in svg
