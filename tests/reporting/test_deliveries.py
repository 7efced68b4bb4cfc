"""The section that sets the artifacts of several runtimes side by side."""

import json
from dataclasses import replace

import pytest

from primum.reporting.blocks import Bullets, Paragraph, Section, Table
from primum.reporting.data import as_data
from primum.reporting.deliveries import deliveries_section
from primum.reporting.headline import banners, headline
from primum.reporting.page import compose
from primum.study.deliveries import delivered_rows
from primum.study.result import StudyResult
from primum.validation.verdict import Outcome


@pytest.fixture(scope="module")
def several(results: dict[str, StudyResult]) -> StudyResult:
    return results["several"]


@pytest.fixture(scope="module")
def section(several: StudyResult) -> Section:
    found = deliveries_section(several)
    assert found is not None
    return found


def cells(section: Section) -> list[list[str]]:
    (table,) = (b for b in section.blocks if isinstance(b, Table))
    return [[f"{cell.text} {cell.note}".strip() for cell in line] for line in table.rows]


def test_a_study_that_named_no_runtime_has_no_such_section(results: dict[str, StudyResult]) -> None:
    assert deliveries_section(results["proven"]) is None
    assert "deliveries" not in [s.anchor for s in compose(results["proven"]).sections]
    assert compose(results["several"]).sections[0].anchor == "deliveries"


def test_how_the_error_is_shared_is_said(section: Section) -> None:
    (text,) = (b.text for b in section.blocks if isinstance(b, Paragraph))
    assert "each of 3 runtimes" in text and "judged at 98.33%" in text and "at most 2.5%" in text
    assert "declared before the confirmation cases were opened" in text


def test_one_row_a_runtime_with_its_own_figures(section: Section, several: StudyResult) -> None:
    vino, ort, scripted = cells(section)
    assert vino[0] == "OpenVINO" and "OpenVINO INT8" in vino[1] and "the best of all" in vino[1]
    assert "Non-inferior" in vino[2] and "on confirmation" in vino[2]
    assert vino[3] == "9.2× 8.8 to 9.7×" and "3.9× smaller" in vino[4]
    assert vino[5] == "8 of 2,400 cases" and vino[6] == "artifacts/openvino/ artifact/"
    assert "lossless" in ort[1] and ort[3].startswith("2.2×") and ort[5].startswith("0 of") and "Inferior" not in ort[2]
    assert ort[6] == "artifacts/onnxruntime/"
    assert scripted[0] == "TorchScript" and "tracing failed" in scripted[1] and "None" in scripted[2]


def test_why_the_original_stands_in_is_said(section: Section) -> None:
    (listed,) = (b for b in section.blocks if isinstance(b, Bullets))
    (said,) = listed.items
    assert said.startswith("ONNX Runtime has the original, lossless: onnxruntime[fp16] was not accepted (INFERIOR)")


def test_no_reader_misses_a_runtime_without_an_artifact(several: StudyResult) -> None:
    assert any(b.word == "No artifact for TorchScript" and "tracing failed" in b.text for b in banners(several))
    assert any("OpenVINO and ONNX Runtime each" in sentence for sentence in headline(several).lead)


def test_told_from_another_claim_the_whole_report_changes(several: StudyResult) -> None:
    told = several.told_from(several.claims[1])
    assert told.winner.key == "onnxruntime-fp32" and told.speedup == 2.2 and not told.accepted
    assert delivered_rows(told) == delivered_rows(several), "the rows do not depend on who tells"
    assert "stands in" in headline(told).title or "lossless" in headline(told).title
    (_, ort, _) = cells(deliveries_section(told))
    assert "the subject of this report" in ort[1]


def test_the_rows_are_in_the_data_and_no_claim_twice(several: StudyResult) -> None:
    data = json.loads(json.dumps(as_data(several)))
    assert [row["runtime"] for row in data["claims"]] == ["openvino", "onnxruntime"]
    assert data["claims"][1]["outcome"] == Outcome.NON_INFERIOR.value and data["claims"][1]["lossless"]
    assert "judged" not in data["claims"][0] and data["winner"]["key"] == "openvino-int8"
    assert data["not_delivered"][0]["runtime"] == "torchscript"


def test_one_named_runtime_shares_nothing(several: StudyResult) -> None:
    alone = replace(several, claims=several.claims[:1], not_delivered=())
    (text,) = (b.text for b in deliveries_section(alone).blocks if isinstance(b, Paragraph))
    assert "share" not in text and "the best of all" not in str(cells(deliveries_section(alone)))
