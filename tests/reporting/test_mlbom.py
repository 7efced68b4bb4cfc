import builtins
import dataclasses
import json
import subprocess
import sys
from math import isfinite, nan
from pathlib import Path
from typing import Any

import pytest

from primum.errors import InputError, MissingExtra
from primum.reporting.delivered import Delivered
from primum.reporting.mlbom import mlbom, schema_check, validate_mlbom
from primum.reporting.wording import delivered_verdict
from primum.study.result import StudyResult

FILES = {"model/model.bin": "a" * 64, "model/model.xml": "b" * 64}
DIGEST = "0123456789abcdef" * 4


def made_of(result: StudyResult) -> Delivered:
    return Delivered(delivered_verdict(result), "confirmation", FILES)


def bill_of(result: StudyResult) -> dict[str, Any]:
    return dict(json.loads(mlbom(result, made_of(result))))


def model_of(bill: dict[str, Any]) -> dict[str, Any]:
    return next(c for c in bill["components"] if c["type"] == "machine-learning-model")


def real(result: StudyResult) -> StudyResult:
    """With a digest and a time as a study has them."""
    model = dataclasses.replace(result.model, digest=DIGEST)
    return dataclasses.replace(result, model=model, created="2026-07-14T09:30:00+00:00")


def without_validator(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("cyclonedx"):
            raise ImportError(name)
        return found(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)


def test_fits_the_official_schema(any_result: StudyResult) -> None:
    validate_mlbom(mlbom(any_result, made_of(any_result)))
    validate_mlbom(mlbom(real(any_result), made_of(any_result)))


@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (lambda b: b.update(bomFormat="SPDX"), "bomFormat"),
        (lambda b: model_of(b)["modelCard"].update(surprise=1), "modelCard"),
        (
            lambda b: model_of(b)["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0].update(value=0.5),
            "value",
        ),
        (lambda b: model_of(b)["components"][0]["hashes"][0].update(content="xyz"), "hashes"),
        (lambda b: b["components"].append({"type": "library"}), "components"),
    ],
)
def test_a_document_that_does_not_fit_is_refused(results: dict[str, StudyResult], spoil: Any, where: str) -> None:
    bill = bill_of(results["proven"])
    spoil(bill)
    data = json.dumps(bill).encode()
    with pytest.raises(InputError, match=where):
        validate_mlbom(data)
    assert schema_check(data).startswith("FAILED")
    with pytest.raises(InputError, match="not JSON"):
        validate_mlbom(b"{")


def test_whether_it_was_checked_is_said(results: dict[str, StudyResult], monkeypatch: pytest.MonkeyPatch) -> None:
    data = mlbom(results["proven"], made_of(results["proven"]))
    assert schema_check(data).startswith("valid CycloneDX 1.6 (strict schema, cyclonedx-python-lib ")
    without_validator(monkeypatch)
    with pytest.raises(MissingExtra, match=r"primum\[evidence\]"):
        validate_mlbom(data)
    assert schema_check(data).startswith("not checked against the schema")


def test_every_endpoint_of_every_group_with_its_interval(results: dict[str, StudyResult]) -> None:
    result = results["proven"]
    metrics = model_of(bill_of(result))["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    told = {(m["slice"], m["type"]): m for m in metrics}
    assert len(told) == len(metrics)
    everyone = [("all cases", p) for p in result.verdict.components]
    by_group = [(f"{s.column}={s.value}", p) for s in result.verdict.subgroups for p in s.components]
    assert len(by_group) == 10
    for group, part in everyone + by_group:
        where = f"{group}; confirmation part"
        assert float(told[where, f"{part.name}, original"]["value"]) == pytest.approx(part.reference, rel=1e-5)
        assert float(told[where, f"{part.name}, delivered"]["value"]) == pytest.approx(part.candidate, rel=1e-5)
        differs = told[where, f"{part.name}, difference (negative is worse)"]
        bounds = [float(v) for v in differs["confidenceInterval"].values()]
        assert bounds == pytest.approx([part.lower, part.upper], rel=1e-5)


def test_endpoints_of_other_tasks_are_told_by_their_own_names(results: dict[str, StudyResult]) -> None:
    result = results["proven"]
    part = dataclasses.replace(result.verdict.components[0], name="sensitivity[melanoma]")
    verdict = dataclasses.replace(result.verdict, components=(part,), subgroups=())
    result = dataclasses.replace(result, verdict=verdict)
    bill = bill_of(result)
    metrics = model_of(bill)["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert "sensitivity[melanoma], delivered" in {m["type"] for m in metrics}
    validate_mlbom(json.dumps(bill).encode())


def test_a_figure_that_is_not_known_is_left_out(results: dict[str, StudyResult]) -> None:
    text = mlbom(results["bare"], made_of(results["bare"])).decode()
    figures = model_of(json.loads(text))["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert figures and all(isfinite(float(f["value"])) for f in figures)
    assert "speed-up" not in {f["type"] for f in figures} and "nan" not in text.lower() and "null" not in text
    verdict = results["bare"].verdict
    open_end = dataclasses.replace(verdict.components[0], lower=nan)
    half = dataclasses.replace(results["bare"], verdict=dataclasses.replace(verdict, components=(open_end,)))
    told = model_of(bill_of(half))["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    (interval,) = (m["confidenceInterval"] for m in told if "confidenceInterval" in m)
    assert set(interval) == {"upperBound"}
    unknown = dataclasses.replace(results["bare"].winner, verdict=None)
    result = dataclasses.replace(results["unassessed"], winner=unknown)
    card = model_of(bill_of(result))["modelCard"]
    assert {"name": "primum:verdict", "value": "NOT_ASSESSED"} in card["properties"]
    assert "Not assessed." in card["considerations"]["technicalLimitations"]


def test_ancestor_files_and_libraries(results: dict[str, StudyResult]) -> None:
    result = real(results["proven"])
    bill = bill_of(result)
    model = model_of(bill)
    (ancestor,) = model["pedigree"]["ancestors"]
    assert ancestor["hashes"] == [{"alg": "SHA-256", "content": DIGEST}]
    assert result.winner.recipe in model["pedigree"]["notes"]
    assert {c["name"]: c["hashes"][0]["content"] for c in model["components"]} == FILES
    scopes = {c["name"]: c["scope"] for c in bill["components"] if c["type"] == "library"}
    assert scopes == {"openvino": "required", "torch": "excluded", "onnxruntime": "excluded"}
    assert bill["metadata"]["timestamp"] == result.created
    assert [t["name"] for t in bill["metadata"]["tools"]["components"]] == ["primum"]
    refs = {c["bom-ref"] for c in bill["components"]} | {"artifact"}
    assert {r for d in bill["dependencies"] for r in (d["ref"], *d["dependsOn"])} <= refs


def test_a_licence_is_that_of_the_version_named(results: dict[str, StudyResult]) -> None:
    from importlib.metadata import version

    result = results["proven"]
    libraries = {"numpy": version("numpy"), "scipy": "0.0.1"}
    result = dataclasses.replace(result, machine=dataclasses.replace(result.machine, libraries=libraries))
    named = {c["name"]: c for c in bill_of(result)["components"] if c["type"] == "library"}
    assert "BSD" in json.dumps(named["numpy"]["licenses"]) and "licenses" not in named["scipy"]


def test_groups_too_small_and_synthetic_cases_are_loud(results: dict[str, StudyResult]) -> None:
    held = model_of(bill_of(results["proven"]))["modelCard"]["considerations"]
    small = next(f for f in held["fairnessAssessments"] if f["groupAtRisk"] == "age=under 40")
    assert "not known" in small["harms"] and "INSUFFICIENT" in small["harms"]
    assert any("age=under 40" in text for text in held["technicalLimitations"])
    card = model_of(bill_of(results["unproven"]))["modelCard"]
    told = " ".join(card["considerations"]["technicalLimitations"])
    assert "UNPROVEN" in told and "SYNTHETIC DATA" in told and "not confirmed by a clinician" in told
    assert card["modelParameters"]["datasets"][0]["classification"] == "synthetic cases"
    assert model_of(bill_of(results["proven"]))["modelCard"]["modelParameters"]["datasets"][0]["sensitiveData"]


def test_the_same_result_gives_the_same_bytes_and_another_one_another_serial_number(
    results: dict[str, StudyResult],
) -> None:
    result = results["proven"]
    assert mlbom(result, made_of(result)) == mlbom(result, made_of(result))
    serials = {bill_of(r)["serialNumber"] for r in (result, real(result), results["bare"])}
    assert len(serials) == 3


def test_no_promise_of_law_and_no_control_characters(any_result: StudyResult) -> None:
    text = mlbom(any_result, made_of(any_result)).decode()
    assert "compliant" not in text.lower()
    assert "\\u001b" not in text and "\\u202e" not in text


def test_writing_needs_no_validator_loaded() -> None:
    code = "import sys, primum.reporting.mlbom; assert not {'cyclonedx', 'jsonschema'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path.cwd())
