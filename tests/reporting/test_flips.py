import csv
import dataclasses
import io

import pytest

from primum.reporting.flips import flips_csv, flips_section, numbered_classes
from primum.study.result import StudyResult

from .reading import tables, texts, words


def test_classes_are_named_with_what_each_model_called(all_results: dict[str, StudyResult]) -> None:
    result = all_results["multiclass"]
    table = tables(flips_section(result))[0]
    assert [c.title for c in table.columns][:4] == ["Case", "Truth", "Original calls", "Candidate calls"]
    for cells, flip in zip(texts(table), sorted(result.verdict.flips, key=lambda f: not f.harmful)):
        assert cells[1] == result.model.classes[flip.label] and cells[3] == flip.candidate_decision
    assert any(cells[3] == "(none)" and cells[5] == "not a number" for cells in texts(table))


def test_one_wrong_class_for_another_is_neither_harmful_nor_beneficial(all_results: dict[str, StudyResult]) -> None:
    result = all_results["crowded"]
    found = result.verdict.agreement
    neither = found.flips - found.harmful - found.beneficial
    said = words(flips_section(result))
    assert neither > 0 and f"{neither} from one wrong class to another" in said
    mild = tuple(flip for flip in result.verdict.flips if not flip.harmful)
    verdict = dataclasses.replace(result.verdict, flips=mild)
    rows = texts(tables(flips_section(dataclasses.replace(result, verdict=verdict)))[0])
    assert [sum(cells[6] == effect for cells in rows) for effect in ("Another wrong class", "✓ Beneficial")] == [
        neither,
        found.beneficial,
    ]


def test_a_label_has_its_own_threshold(all_results: dict[str, StudyResult]) -> None:
    rows = texts(tables(flips_section(all_results["multilabel"]))[0])
    at = {cells[1]: cells[5] for cells in rows}
    assert at["Hernia"] == "0.3" and {cells[2] for cells in rows} == {"present", "absent"}


def test_values_beyond_the_tolerance(all_results: dict[str, StudyResult]) -> None:
    section = flips_section(all_results["regression"])
    assert section.title == "Values that moved"
    assert "moves 6 of 3,000 values by more than the tolerance of 4" in words(section)
    assert {cells[5].split("|")[0] for cells in texts(tables(section)[0])} == {"✗ The error grew", "✓ The error shrank"}
    assert "No tolerance was given" in words(flips_section(all_results["unstated"]))


def test_masks_that_lost(all_results: dict[str, StudyResult]) -> None:
    rows = texts(tables(flips_section(all_results["segmentation"]))[0])
    assert ["case-00005", "tumour"] in [cells[:2] for cells in rows] and all("Dice fell" in cells[5] for cells in rows)


@pytest.mark.parametrize(("name", "label"), [("multiclass", "normal"), ("multilabel", "1"), ("regression", None)])
def test_the_file_names_classes_where_labels_are_numbers_of_them(
    all_results: dict[str, StudyResult], name: str, label: str | None
) -> None:
    verdict = all_results[name].verdict
    rows = list(csv.DictReader(io.StringIO(flips_csv(verdict.flips, numbered_classes(verdict)).decode())))
    assert len(rows) == len(verdict.flips)
    assert [row["view"] for row in rows] == [flip.view for flip in verdict.flips]
    if label is None:
        assert [float(row["label"]) for row in rows] == [flip.label for flip in verdict.flips]
    else:
        assert label in {row["label"] for row in rows}
    assert [row["candidate_decision"] for row in rows] == [flip.candidate_decision for flip in verdict.flips]
