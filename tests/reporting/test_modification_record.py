import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from primum.reporting.delivered import Delivered
from primum.reporting.evidence import write_evidence
from primum.reporting.mlbom import validate_mlbom
from primum.reporting.modification_record import SCOPE, modification_record
from primum.reporting.wording import delivered_verdict
from primum.study.result import StudyResult
from primum.task import Task
from primum.validation.assessment import nothing_assessed
from primum.validation.checklist import Record
from primum.validation.verdict import Flip, Outcome

DECLARED, OPENED = "2026-07-14T09:10:00+00:00", "2026-07-14T09:11:00+00:00"


def made_of(result: StudyResult) -> Delivered:
    return Delivered(delivered_verdict(result), "confirmation", {"model/model.onnx": "a" * 64})


def record_of(result: StudyResult) -> dict[str, Any]:
    return modification_record(result, made_of(result), "valid")


def registered(result: StudyResult, declared: str = DECLARED, opened: str = OPENED) -> StudyResult:
    confirmations = tuple(dataclasses.replace(c, opened=opened, frozen="f" * 64) for c in result.confirmations)
    return dataclasses.replace(result, confirmations=confirmations, declared_at=declared)


class Words(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "artifact" / "model").mkdir(parents=True)
    (tmp_path / "artifact" / "model" / "model.onnx").write_bytes(b"graph")
    (tmp_path / "artifact" / "evidence").mkdir()
    return tmp_path / "artifact"


def test_modifications_are_numbered_and_every_test_bears_on_them(results: dict[str, StudyResult]) -> None:
    record = record_of(results["proven"])
    changes = record["modifications"]["changes"]
    assert [(c["id"], c["what"], c["from"], c["to"]) for c in changes] == [
        ("M1", "runtime", "torch", "openvino"),
        ("M2", "precision", "fp32", "int8"),
    ]
    tests = record["traceability"]
    assert [t["test"] for t in tests] == [f"T{i}" for i in range(1, len(tests) + 1)]
    assert all(t["modifications"] == ["M1", "M2"] and t["criterion"] and t["outcome"] for t in tests)
    assert record["modifications"]["tools"]["openvino"] == "2026.4.1"
    assert record["modifications"]["parent"]["sha256"] == results["proven"].model.digest
    assert record["modifications"]["child"]["files"] == {"model/model.onnx": "a" * 64}


def test_techniques_and_their_settings_are_modifications(results: dict[str, StudyResult]) -> None:
    result = results["proven"]
    data = {**result.winner.recipe_data, "techniques": [{"round_weights": {"bits": 3}}]}
    result = dataclasses.replace(result, winner=dataclasses.replace(result.winner, recipe_data=data))
    first = record_of(result)["modifications"]["changes"][0]
    assert first == {"id": "M1", "what": "technique round_weights", "from": None, "to": {"bits": 3}}


def test_a_guard_is_a_modification_with_a_test_of_its_own(results: dict[str, StudyResult]) -> None:
    result = results["guarded"]
    record, guard = record_of(result), result.guard
    assert guard is not None and result.winner.guard is not None
    (change,) = (c for c in record["modifications"]["changes"] if c["what"] == "guarded prediction")
    assert change["to"]["value"] == guard.band.value and change["to"]["epsilon"] == 0.01
    (test,) = (t for t in record["traceability"] if "guard" in t["what"])
    assert test["result"] == guard.outcome.patients_left / 2400 and "at most 0.01" in test["criterion"]
    assert record["modifications"]["child"]["bytes_of_the_original_inside"] == int(44.6e6)
    assert record["impact"]["benefits"]["speedup"]["ratio"] == result.speedup
    assert not [t for t in record_of(results["proven"])["traceability"] if "guard" in t["what"]]


def test_the_original_delivered_as_it_is_has_no_modification(results: dict[str, StudyResult]) -> None:
    base = results["inconclusive"]
    record = record_of(dataclasses.replace(base, winner=base.baseline))
    assert record["modifications"]["changes"] == []
    assert all(t["modifications"] == [] for t in record["traceability"])


@pytest.mark.parametrize(
    ("declared", "opened", "order"),
    [
        (DECLARED, OPENED, "declared before it was opened"),
        (DECLARED, DECLARED, "declared before it was opened"),
        (OPENED, DECLARED, "this very candidate had been opened on these cases before, in an earlier study"),
        ("2026-07-14T11:10:00+02:00", OPENED, "declared before it was opened"),
        ("", OPENED, "not known: no time stamp"),
        (DECLARED, "", "not known: no time stamp"),
    ],
)
def test_criteria_carry_the_times_of_declaration_and_opening(
    results: dict[str, StudyResult], declared: str, opened: str, order: str
) -> None:
    before = record_of(registered(results["proven"], declared, opened))["protocol"]["pre_registration"]
    assert before["declared_at"] == (declared or None)
    (opening,) = before["openings"]
    assert (opening["order"], opening["opened_at"], opening["frozen_sha256"]) == (order, opened or None, "f" * 64)
    assert before["sequence"] == ["openvino[int8]"]


def test_criteria_are_the_policy_s(results: dict[str, StudyResult]) -> None:
    criteria = {c["what"]: c for c in record_of(results["inconclusive"])["protocol"]["acceptance_criteria"]}
    assert criteria["sensitivity"]["margin"] == 0.02 and criteria["sensitivity"]["stated_by_a_clinician"] is False
    assert "95%" in criteria["auroc"]["rule"] and {"groups", "lossless export"} <= set(criteria)
    stated = record_of(results["proven"])["protocol"]["acceptance_criteria"]
    assert all(c.get("stated_by_a_clinician", True) for c in stated)
    # One criterion for the endpoints of all classes of one kind.
    base = results["proven"]
    parts = tuple(dataclasses.replace(base.verdict.components[0], name=f"sensitivity[{c}]") for c in "ab")
    many = dataclasses.replace(base, verdict=dataclasses.replace(base.verdict, components=parts))
    named = [c["what"] for c in record_of(many)["protocol"]["acceptance_criteria"]]
    assert named == ["sensitivity", "groups", "lossless export"]


def test_old_against_new_overall_and_by_group(results: dict[str, StudyResult]) -> None:
    verdict = results["proven"].verdict
    rows = {(r["group"], r["name"]): r for r in record_of(results["proven"])["comparison"]}
    assert len(rows) == 4 + sum(len(s.components) for s in verdict.subgroups)
    part = verdict.component("auroc")
    assert rows[None, "auroc"]["reference"] == part.reference and rows[None, "auroc"]["candidate"] == part.candidate
    level = next(s for s in verdict.subgroups if s.value == "F")
    assert rows["sex=F", "specificity"]["lower"] == next(p.lower for p in level.components if p.name == "specificity")


def test_every_changed_decision_is_listed_by_its_pseudonym(results: dict[str, StudyResult]) -> None:
    result = results["proven"]
    record = record_of(result)
    assert [f["case_id"] for f in record["flips"]] == [f.case_id for f in result.verdict.flips]
    assert all(f["truth"] == ("positive" if f["label"] == 1 else "negative") for f in record["flips"])
    harmful = record["impact"]["risks"]["harmful_by_truth"]
    assert sum(harmful.values()) == result.verdict.agreement.harmful == 4 and harmful["positive"] >= 1


@pytest.mark.parametrize(
    ("task", "label", "view", "truth"),
    [
        (Task.MULTICLASS, 1, "", "melanoma"),
        (Task.ORDINAL, 0, "", "naevus"),
        (Task.MULTILABEL, 1, "oedema", "oedema: present"),
        (Task.MULTILABEL, 0, "oedema", "oedema: absent"),
        (Task.REGRESSION, 61.5, "ejection fraction", "ejection fraction"),
        (Task.SEGMENTATION, float("nan"), "liver", "liver"),
    ],
)
def test_what_a_changed_decision_was_about(
    results: dict[str, StudyResult], task: Task, label: float, view: str, truth: str
) -> None:
    base = results["proven"]
    flip = Flip("case-1", label, 0.6, 0.4, True, {}, view)
    verdict = dataclasses.replace(base.verdict, task=task, classes=("naevus", "melanoma"), flips=(flip,))
    record = record_of(dataclasses.replace(base, verdict=verdict))
    assert record["flips"][0]["truth"] == truth and record["impact"]["risks"]["harmful_by_truth"] == {truth: 1}


def test_candidates_refused_for_harm_and_groups_too_small_are_risks(results: dict[str, StudyResult]) -> None:
    risks = record_of(results["proven"])["impact"]["risks"]
    assert risks["groups_insufficient"] == ["age=under 40"]
    assert risks["candidates_refused_for_harm"] == ["onnxruntime[fp16]"]
    tried = {c["recipe"]: c for c in record_of(results["proven"])["protocol"]["candidates"]}
    assert tried["openvino[int8]"]["judged_on"] == "confirmation"
    assert tried["onnxruntime[fp16]"]["outcome"] == Outcome.INFERIOR.value
    assert tried["inductor[fp32, channels_last]"]["reason"] == "no C++ compiler was found on this machine"
    assert record_of(results["unproven"])["impact"]["risks"]["unproven"] is True
    assert record_of(results["unproven"])["impact"]["risks"]["margins_not_confirmed"]


def test_what_a_human_must_say_is_left_empty(any_result: StudyResult) -> None:
    record = record_of(any_result)
    assert len(record["signatures"]) == 4
    assert all(s["name"] == s["date"] == s["signature"] == "" for s in record["signatures"])
    residual = record["impact"]["residual_risk"]
    assert residual["severity"] == residual["acceptable"] == residual["judged_by"] == ""
    assert record["authorised_model"]["confirmed_by"] == ""
    assert record["scope"] == SCOPE and "authorises nothing" in SCOPE


def test_evidence_is_complete_valid_and_the_same_twice(any_result: StudyResult, artifact: Path) -> None:
    folder = artifact / "evidence"
    write_evidence(any_result, folder)
    first = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert set(first) == {
        "report.html", "report.json", "report.txt", "flips.csv", "validation.json", "benchmark.json",
        "mlbom.cdx.json", "MODEL_CARD.md", "modification_record.json", "modification_record.html",
    }  # fmt: skip
    write_evidence(any_result, folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == first
    validate_mlbom(first["mlbom.cdx.json"])
    record = json.loads(first["modification_record.json"], parse_constant=pytest.fail)
    assert record["bill_of_materials"]["schema"].startswith("valid CycloneDX 1.6")
    assert list(record["modifications"]["child"]["files"]) == ["model/model.onnx"]
    assert not [name for name, data in first.items() if b"compliant" in data.lower()]


def test_the_page_says_what_the_record_says(results: dict[str, StudyResult], artifact: Path) -> None:
    assessment = nothing_assessed("no scores", records={Record.MODIFICATION: "evidence/modification_record.json"})
    result = dataclasses.replace(registered(results["proven"]), assessment=assessment)
    write_evidence(result, artifact / "evidence")
    html = (artifact / "evidence" / "modification_record.html").read_text()
    text = Words(html).text
    for told in (
        SCOPE, DECLARED, OPENED, "declared before it was opened", "f" * 64, "Traceability", "age=under 40",
        "−0.35 to +0.58 pp", "positive: ", "Approved by: name, date, signature", "No signature is made automatically",
        "Evidence checklist", "needs human sign-off", result.verdict.flips[0].case_id, "Residual risk, for a human",
    ):  # fmt: skip
        assert told in text, told
    assert "<script" not in html.lower() and "http:" not in html and "https:" not in html


def test_hostile_names_stay_text(results: dict[str, StudyResult], artifact: Path) -> None:
    result = results["hostile"]
    result = dataclasses.replace(result, verdict_recipe=result.winner.recipe)
    write_evidence(result, artifact / "evidence")
    html = (artifact / "evidence" / "modification_record.html").read_text()
    assert "<script" not in html.lower() and "&lt;script&gt;" in html
    assert "\x1b" not in html and "\u202e" not in html
    assert f"The first 100 of {len(result.verdict.flips)}" in Words(html).text
    assert html.count(">harmful</td>") == 100 and ">beneficial</td>" not in html, "harmful ones first"
