"""Labels, groups and scores that are missing or wrong, through the command line: said, counted, never silent."""

import csv
import html
import json
from pathlib import Path

import clinics
import numpy as np
import pytest
from inline import patch, primum
from PIL import Image


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of 300 cases and its preprocessing."""
    monkeypatch.setenv("PRIMUM_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("primum.study.runner.TIMED_ROUNDS", 3)
    monkeypatch.setattr("primum.study.race.ROUNDS", 2)
    monkeypatch.setattr("primum.workflows.optimize.FINAL_ROUNDS", 3)
    patch(monkeypatch)
    clinics.table(tmp_path / "cases.csv", 300, 1, label=clinics.finding(0))
    (tmp_path / "preprocessing.yaml").write_text(clinics.TABLE)
    return tmp_path


def change(path: Path, cells: dict[tuple[int, str], str]) -> None:
    """Set cells of a CSV by (row, column)."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for (row, column), cell in cells.items():
        rows[row][column] = cell
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def optimize(place: Path, *more: object, model: str = "nets:one_finding"):
    return primum(
        "optimize", "--model", model, "--data", place / "cases.csv", "--out", place / "out", "--threads", 1,
        "--preprocessing", place / "preprocessing.yaml", "--level", "minimal", "--target", "onnxruntime", *more,
    )  # fmt: skip


def refused(done, *words: str) -> None:
    message = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(message) == 1 and "Traceback" not in done.stderr, done.stderr
    for word in words:
        assert word in message[0], message[0]


def test_cases_without_a_label_are_counted_in_the_plan(place):
    change(place / "cases.csv", {(row, "label"): "" for row in (3, 5, 8)})
    planned = optimize(place, "--plan")
    assert planned.returncode == 0, planned.stderr
    assert "note: 3 case(s) excluded (3 no label)" in planned.stdout
    assert "note: activation inferred" in planned.stdout
    told = json.loads(optimize(place, "--plan", "--json").stdout)
    assert [e["reason"] for e in told["excluded"]] == ["no label"] * 3
    assert any("activation inferred" in note for note in told["notes"])
    assert sum(part["cases"] for part in told["parts"]) == 297


def test_blank_groups_are_a_level_and_missing_labels_are_in_the_report(place):
    change(place / "cases.csv", {(row, "sex"): "" for row in range(0, 300, 3)} | {(7, "label"): ""})
    done = optimize(place, "--group-columns", "sex", "--patient-column", "patient", "--json")
    assert done.returncode == 0, done.stderr
    assert "1 case(s) excluded (1 no label)" in done.stderr
    levels = {g["value"] for g in json.loads(done.stdout)["verdict_detail"]["subgroups"]}
    assert levels == {"F", "M", "(missing)"}
    report = (place / "out" / "report.html").read_text()
    assert "(missing)" in report and "no label" in report


def test_a_blank_patient_is_refused(place):
    change(place / "cases.csv", {(4, "patient"): ""})
    refused(optimize(place, "--patient-column", "patient"), "row 5", "no patient")


@pytest.mark.parametrize(
    ("model", "label", "instead"),
    [
        ("nets:one_finding", clinics.finding(0), "--activation sigmoid"),
        ("nets:four_grades", clinics.grade, "--activation softmax"),
    ],
)
def test_scores_outside_0_to_1_are_logits_and_calling_them_probabilities_is_refused(place, model, label, instead):
    clinics.table(place / "cases.csv", 300, 1, label=label)
    refused(optimize(place, "--activation", "identity", model=model), "outputs lie from -", "logits", instead)
    assert not (place / "out" / "artifact").exists() and not list((place / "out").rglob("*.onnx"))
    told = json.loads(optimize(place, "--plan", "--json", model=model).stdout)
    assert f"activation inferred from the outputs: {instead.split()[1]}" in told["notes"]


def test_one_class_only(place):
    change(place / "cases.csv", {(row, "label"): "1" for row in range(300)})
    refused(optimize(place), "label", "1 class(es); two are needed")


def test_a_label_column_that_names_patients(place):
    for more in ((), ("--classes", "no,yes")):
        done = optimize(place, "--plan", "--label-column", "patient", *more)
        refused(done, "different label" if more else "cases or patients rather than classes")
        assert "1-0" not in done.stderr


def test_a_case_that_is_there_twice(place, tmp_path):
    change(place / "cases.csv", {(9, "patient"): "1-0"})
    refused(optimize(place, "--id-column", "patient"), "line 11 and line 2 have one patient")
    data = clinics.masked_images(place / "scans", 30, 2)
    lines = data.read_text().splitlines()
    data.write_text("\n".join([*lines, lines[3]]) + "\n")
    done = primum(
        "optimize", "--model", "nets:bright_spots", "--data", data, "--out", place / "out", "--task", "segmentation",
        "--label-column", "mask",
    )  # fmt: skip
    refused(done, "line 32 and line 4 name one file")
    assert "2.png" not in done.stderr


def test_outputs_in_another_order_than_the_labels(place):
    clinics.table(place / "cases.csv", 500, 7, cold=clinics.finding(0), flu=clinics.finding(1))
    given = ("--task", "multilabel", "--label-columns", "flu,cold", "--patient-column", "patient")
    refused(optimize(place, *given, model="nets:two_findings"), "does not run", "cold, flu (mean AUROC", "--classes")
    assert not (place / "out" / "artifact").exists()


def test_masks_of_the_background(place):
    data = clinics.masked_images(place / "scans", 100, 2)
    (place / "preprocessing.yaml").write_text(clinics.MASKED)
    for mask in (place / "scans" / "images").glob("*-mask.png"):
        Image.fromarray(1 - np.asarray(Image.open(mask))).save(mask)
    done = primum(
        "optimize", "--model", "nets:bright_spots", "--data", data, "--out", place / "out", "--task", "segmentation",
        "--label-column", "mask", "--preprocessing", place / "preprocessing.yaml", "--level", "minimal",
    )  # fmt: skip
    refused(done, "fits the true masks far better", "in their order, 1, 0")


def test_an_original_that_hardly_finds_a_structure_is_told_in_console_and_report(place):
    data = clinics.masked_images(place / "scans", 200, 2)
    (place / "preprocessing.yaml").write_text(clinics.MASKED)
    for mask in (place / "scans" / "images").glob("*-mask.png"):
        Image.fromarray(np.roll(np.asarray(Image.open(mask)), 8, axis=0)).save(mask)
    done = primum(
        "optimize", "--model", "nets:bright_spots", "--data", data, "--out", place / "out", "--task", "segmentation",
        "--label-column", "mask", "--preprocessing", place / "preprocessing.yaml", "--level", "minimal",
        "--target", "onnxruntime", "--threads", 1, "--patient-column", "patient", "--json",
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stderr
    assert "note: the original's mean Dice of '1' is 0." in done.stderr
    assert any("mean Dice" in note for note in json.loads(done.stdout)["baseline"]["fit"])
    assert "mean Dice of '1' is 0." in html.unescape((place / "out" / "report.html").read_text())
    report = json.loads((place / "out" / "report.json").read_text())
    assert any("mean Dice of '1'" in note for note in report["model"]["notes"])


def judged_anew(place, model, data, *more):
    return primum(
        "validate", "--artifact", place / "out" / "artifact", "--model", model, "--data", data, "--patient-column",
        "patient", "--json", *more,
    )  # fmt: skip


def test_new_cases_with_exchanged_labels_are_not_judged(place):
    assert optimize(place, "--patient-column", "patient").returncode == 0
    new = clinics.table(place / "new.csv", 200, 11, label=clinics.finding(0))
    assert judged_anew(place, "nets:one_finding", new).returncode == 0
    turned = clinics.table(place / "turned.csv", 200, 12, label=lambda *given: [
        str(1 - int(y)) for y in clinics.finding(0)(*given)
    ])  # fmt: skip
    refused(judged_anew(place, "nets:one_finding", turned), "the original ranks '1' below '0'", "mend the labels")
    few = clinics.table(place / "few.csv", 8, 13, label=lambda *given: [
        str(1 - int(y)) for y in clinics.finding(0)(*given)
    ])  # fmt: skip
    done = judged_anew(place, "nets:one_finding", few)
    assert done.returncode in (0, 3), done.stderr
    assert any("too few to tell" in note for note in json.loads(done.stdout)["notes"])


def test_new_masks_of_other_structures_are_not_judged(place):
    (place / "preprocessing.yaml").write_text(clinics.MASKED)
    given = ("--task", "segmentation", "--label-column", "mask", "--patient-column", "patient")
    clinics.masked_images(place / "scans", 100, 2).rename(place / "scans" / "cases.csv")
    (place / "cases.csv").unlink()
    done = primum(
        "optimize", "--model", "nets:bright_spots", "--data", place / "scans" / "cases.csv", "--out", place / "out",
        "--preprocessing", place / "preprocessing.yaml", "--level", "minimal", "--target", "onnxruntime", *given,
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stderr
    new = clinics.masked_images(place / "new", 40, 3)
    for mask in (place / "new" / "images").glob("*-mask.png"):
        Image.fromarray(np.roll(np.asarray(Image.open(mask)), 8, axis=0)).save(mask)
    poor = judged_anew(place, "nets:bright_spots", new, "--label-column", "mask")
    assert any("mean Dice of '1' is 0." in note for note in json.loads(poor.stdout)["notes"]), poor.stderr
    for mask in (place / "new" / "images").glob("*-mask.png"):
        Image.fromarray(1 - np.roll(np.asarray(Image.open(mask)), -8, axis=0)).save(mask)
    refused(judged_anew(place, "nets:bright_spots", new, "--label-column", "mask"), "fits the true masks far better")
