import dataclasses

import pytest

from primum.reporting.endpoints import endpoints_section, failing_table
from primum.study.result import StudyResult

from .reading import figure, tables, texts, words


@pytest.mark.parametrize("name", ["proven", "assessed", "multiclass", "ordinal", "multilabel"])
def test_the_brier_score_comes_first(all_results: dict[str, StudyResult], name: str) -> None:
    section = endpoints_section(all_results[name])
    first = "Ranked probability score" if name == "ordinal" else "Brier score"
    assert texts(tables(section)[0])[0][0].startswith(first)
    assert figure(section).label.startswith(f"Forest plot of paired differences, worse to the left. {first}")


def test_classes_have_a_table_of_their_own_folded_where_long(all_results: dict[str, StudyResult]) -> None:
    whole, single = tables(endpoints_section(all_results["multiclass"]))
    assert [cells[0] for cells in texts(whole)] == ["Brier score", "Accuracy"] and not single.fold
    assert texts(single)[0][0] == "Sensitivity, class normal" and len(single.rows) == 12
    assert tables(endpoints_section(all_results["multilabel"]))[1].fold == "Endpoints by label: 52 rows"
    assert len(tables(endpoints_section(all_results["segmentation"]))) == 1


def test_clustered_rates_carry_their_footnote(all_results: dict[str, StudyResult]) -> None:
    footnote = "the interval rests on patients"
    assert footnote in words(endpoints_section(all_results["multiclass"]))
    assert footnote not in words(endpoints_section(all_results["crowded"]))
    assert footnote not in words(endpoints_section(all_results["regression"])), "errors are no shares"


def test_figures_beside_are_said_to_decide_nothing(all_results: dict[str, StudyResult]) -> None:
    said, beside = words(endpoints_section(all_results["multiclass"])), all_results["multiclass"].verdict.beside
    assert f"Macro-AUROC: {beside['macro_auroc_reference']:.4f} → {beside['macro_auroc_candidate']:.4f}" in said
    assert "Stuart-Maxwell" in said and "deciding nothing" in said
    assert "deciding nothing" not in words(endpoints_section(all_results["assessed"]))


def test_what_is_missing_is_named(all_results: dict[str, StudyResult]) -> None:
    rows = texts(tables(endpoints_section(all_results["unstated"]))[0])
    assert rows[0][:1] == ["Mean absolute error, ejection fraction"] and rows[0][5] == "–"
    assert "no margin for the error was given" in rows[0][-1]


def test_limits_of_agreement_stand_beside_their_method(all_results: dict[str, StudyResult]) -> None:
    result = all_results["regression"]
    row = next(cells for cells in texts(tables(endpoints_section(result))[0]) if cells[0].startswith("Agreement"))
    held = result.verdict.component("agreement").beside
    assert f"limits −{-held['limit_lower']:.2f} to +{held['limit_upper']:.2f}" in row[8]


def test_the_failing_table_holds_classes_and_groups(all_results: dict[str, StudyResult]) -> None:
    result = all_results["crowded"]
    names = [cells[0] for cells in texts(failing_table(result.verdict))]
    assert names[0] == "Brier score" and "Brier score, sex F" in names
    calm = dataclasses.replace(result.verdict, components=(), subgroups=())
    assert failing_table(calm).rows == ()
