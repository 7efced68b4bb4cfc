"""The main job for every task, whole: real runtimes, a few hundred tiny cases."""

import json
from pathlib import Path

import clinics
import inline
import numpy as np
import pytest
import yaml
from PIL import Image

import primum
from primum.artifact.golden import replay
from primum.config import ClinicalPolicy, GuardPolicy, Margins, OptimizationConfig, OptimizationLevel
from primum.errors import InputError
from primum.reporting.mlbom import validate_mlbom
from primum.runtimes.base import Target
from primum.study.recipe import Recipe, write_recipes
from primum.task import Task
from primum.techniques.registry import make
from primum.workflows.delivery import Delivery

WIDE = Margins(sensitivity=0.3, specificity=0.3, auroc=0.3, brier=0.3, kappa=0.3, dice=0.3, error=2.0)
AVERAGE = GuardPolicy(epsilon=0.05, delta=None)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No processes of their own; and as networks this small gain nothing, every candidate counts as fast enough."""
    monkeypatch.setattr("primum.study.select._GAIN", 0.0)
    inline.patch(monkeypatch)


def rounded(bits: int) -> Recipe:
    return Recipe(Target(runtime="onnxruntime", threads=1), (make("round_weights", {"bits": bits}),))


def minimal(guard: object = None, margins: Margins = WIDE, **policy: object) -> OptimizationConfig:
    """Lossless runtimes, and what a test gives by hand."""
    return OptimizationConfig(
        level=OptimizationLevel.MINIMAL, runtimes=("onnxruntime",), threads=1, guard=guard,
        policy=ClinicalPolicy(margins=margins, **policy),
    )  # fmt: skip


def optimized(model: str, data: Path, out: Path, bits: int | None, **more: object) -> Delivery:
    recipes = () if bits is None else (rounded(bits),)
    given = {"config": minimal(), "patient_column": "patient", "recipes": recipes}
    return primum.optimize(f"nets:{model}", data, out, **(given | more))


def in_tables(folder: Path) -> Path:
    """The preprocessing file of the tables."""
    (folder / "preprocessing.yaml").write_text(clinics.TABLE)
    return folder / "preprocessing.yaml"


def cli(*arguments: object) -> tuple[int, dict]:
    """`primum ... --json` in this process: exit status and what it printed."""
    done = inline.primum(*arguments, "--json")
    assert done.returncode in (0, 3), done.stderr
    return done.returncode, json.loads(done.stdout)


def checked(delivery: Delivery, task: Task) -> None:
    """What every delivery has, whatever the task."""
    assert delivery.result.model.task is task and delivery.report.is_file()
    evidence = delivery.artifact / "evidence"
    for name in ("validation.json", "benchmark.json", "report.html", "modification_record.json"):
        assert (evidence / name).stat().st_size > 100, name
    validate_mlbom((evidence / "mlbom.cdx.json").read_bytes())
    with primum.load(delivery.artifact) as predictor:
        assert predictor.manifest.signature.task is task
        assert replay(delivery.artifact, predictor).passed
    text = (delivery.artifact.parent / "report.txt").read_text() + delivery.report.read_text()
    assert "nan" not in text.lower().split(), "a number that is not there is said, not printed"
    assert ("kept closed for guarded prediction" in text) == task.guardable
    record = json.loads((evidence / "modification_record.json").read_text())
    parts = record["protocol"]["data_management"]["parts"]
    assert sum(part["share_of_patients"] for part in parts) == pytest.approx(1)


def guards(delivery: Delivery, batch: np.ndarray) -> None:
    """The delivered artifact is guarded, defers some of the batch, and answers those as the original does."""
    result = delivery.result
    assert result.accepted and result.winner.guard is not None, result.reasons
    found = result.guard.outcome
    assert found.flips_left <= found.flips_unguarded and 0 < found.deferred < 1
    assert result.verdict.agreement.flips == found.flips_left
    with primum.load(delivery.artifact) as predictor:
        answer = predictor.predict_tensor_guarded(batch)
        assert np.array_equal(answer.probabilities, predictor.predict_tensor(batch))
        assert 0 < answer.deferred.sum() < len(batch)
        lossless = predictor.session.reference.run(batch[answer.deferred])
        expected = predictor.manifest.signature.probabilities(lossless)
    assert answer.probabilities[answer.deferred] == pytest.approx(expected)


def inputs(delivery: Delivery) -> np.ndarray:
    return np.load(delivery.artifact.parent / "study" / "inputs.npy")[:150]


def test_three_classes_of_arrays_by_patient_guarded_then_judged_on_new_cases(tmp_path):
    data = clinics.arrays(tmp_path / "cases.npz", 500, seed=1)
    delivery = optimized(
        "three_kinds", data, tmp_path / "out", 3, config=minimal(AVERAGE), group_columns=("site",), label_column="y",
    )  # fmt: skip
    checked(delivery, Task.MULTICLASS)
    guards(delivery, inputs(delivery))
    verdict = delivery.result.verdict
    assert verdict.clustered and verdict.classes == ("benign", "cyst", "tumour")
    names = {c.name for c in verdict.components}
    assert {f"{end}[{c}]" for end in ("sensitivity", "auroc") for c in verdict.classes} <= names
    assert {(s.column, s.value) for s in verdict.subgroups} == {("site", "north"), ("site", "south")}
    alone = next(t for t in delivery.result.trials if t.recipe == str(rounded(3)))
    assert alone.verdict.agreement.flips > 0, "the candidate is a lossy one"
    new = clinics.arrays(tmp_path / "new.npz", 200, seed=2)
    with np.load(new) as cases, primum.load(delivery.artifact) as predictor:
        calls = predictor.decide(predictor.predict(list(cases["x"])))
        right = np.array(predictor.classes)[calls] == cases["y"]
    assert right.mean() > 0.7
    code, found = cli(
        "validate", "--artifact", delivery.artifact, "--model", "nets:three_kinds", "--data", new, "--label-column",
        "y", "--patient-column", "patient", "--group-columns", "site", "--margin", 0.3, "--auroc-margin", 0.3,
        "--brier-margin", 0.3,
    )  # fmt: skip
    assert code == 0 and found["verdict"]["outcome"] == "NON_INFERIOR"
    assert found["verdict"]["n"] == len(right) and found["verdict"]["n_patients"] == 200


def test_two_findings_some_of_them_unknown_guarded(tmp_path):
    data = clinics.table(
        tmp_path / "cases.csv", 700, 3, cold=clinics.finding(0, blank=0.2), flu=clinics.finding(1, blank=0.2)
    )
    delivery = optimized(
        "two_findings", data, tmp_path / "out", 3, config=minimal(AVERAGE), label_columns=("cold", "flu"),
        preprocessing=in_tables(tmp_path), group_columns=("sex",),
    )  # fmt: skip
    checked(delivery, Task.MULTILABEL)
    guards(delivery, inputs(delivery))
    result = delivery.result
    assert 0 < len(result.data.excluded) < 60, "a case with no label at all is excluded, one with a blank is kept"
    sensitivity = {c.view: c for c in result.verdict.components if c.name.startswith("sensitivity")}
    specificity = {c.view: c for c in result.verdict.components if c.name.startswith("specificity")}
    for name in ("cold", "flu"):
        assert sensitivity[name].n + specificity[name].n < result.verdict.n, "blanks are judged by nobody"


def test_grades_in_their_order(tmp_path):
    data = clinics.table(tmp_path / "cases.csv", 500, 4, label=clinics.grade)
    delivery = optimized(
        "four_grades", data, tmp_path / "out", 5, task="ordinal", preprocessing=in_tables(tmp_path),
    )  # fmt: skip
    checked(delivery, Task.ORDINAL)
    result = delivery.result
    assert result.accepted and result.winner.recipe == str(rounded(5)), result.reasons
    names = {c.name for c in result.verdict.components}
    assert "kappa" in names and {f"sensitivity[>= {g}]" for g in "123"} <= names
    assert "sensitivity[>= 0]" not in names, "every grade is at least the lowest"
    cuts = [result.verdict.component(f"sensitivity[>= {g}]") for g in "123"]
    assert cuts[0].n > cuts[1].n > cuts[2].n and min(c.reference for c in cuts) > 0.7
    with primum.load(delivery.artifact) as predictor:
        probabilities = predictor.predict([dict.fromkeys(clinics.NAMES, 0.0)])
        assert probabilities.shape == (1, 4) and probabilities.sum() == pytest.approx(1)


def test_values_need_a_margin_that_only_a_clinician_can_name(tmp_path):
    data = clinics.table(tmp_path / "cases.csv", 1200, 5, label=clinics.value)
    given = {"task": "regression", "preprocessing": in_tables(tmp_path)}
    known = minimal(tolerance=6.0)
    delivery = optimized("one_value", data, tmp_path / "out", 6, config=known, **given)
    checked(delivery, Task.REGRESSION)
    assert delivery.result.accepted and delivery.result.winner.recipe == str(rounded(6)), delivery.result.reasons
    assert {c.name.partition("[")[0] for c in delivery.result.verdict.components} == {"error", "agreement"}
    with primum.load(delivery.artifact) as predictor:
        assert predictor.predict([dict.fromkeys(clinics.NAMES, 0.0)])[0, 0] == pytest.approx(40)
    for missing, policy in (("error", {"margins": Margins(), "tolerance": 6.0}), ("agreement", {})):
        found = optimized("one_value", data, tmp_path / missing, 6, config=minimal(**policy), **given).result
        judged = next(t for t in found.trials if t.recipe == str(rounded(6))).verdict
        assert judged.outcome == "NOT_ASSESSED"
        absent = [c for c in judged.components if c.outcome == "NOT_ASSESSED"]
        assert {c.name.partition("[")[0] for c in absent} == {missing}
        assert found.winner.lossless


def test_masks_are_judged_by_dice_and_predicted_by_the_artifact(tmp_path):
    data = clinics.masked_images(tmp_path / "scans", 300, seed=6)
    (tmp_path / "preprocessing.yaml").write_text(clinics.MASKED)
    delivery = optimized(
        "bright_spots", data, tmp_path / "out", 5, task="segmentation", label_column="mask",
        classes=("background", "lesion"), preprocessing=tmp_path / "preprocessing.yaml",
    )  # fmt: skip
    checked(delivery, Task.SEGMENTATION)
    result = delivery.result
    assert result.accepted and result.winner.recipe == str(rounded(5)), result.reasons
    (dice,) = [c for c in result.verdict.components if c.name.startswith("dice")]
    assert dice.view == "lesion" and dice.reference > 0.8
    image, mask = data.parent / "images" / "0.png", data.parent / "images" / "0-mask.png"
    with primum.load(delivery.artifact) as predictor:
        called = predictor.decide(predictor.predict([image]))[0]
    truth = np.asarray(Image.open(mask))
    assert called.shape == (16, 16)
    assert 2 * (called & truth).sum() / (called.sum() + truth.sum()) > 0.8


def test_findings_through_the_command_line(tmp_path):
    data = clinics.table(tmp_path / "cases.csv", 500, 7, cold=clinics.finding(0), flu=clinics.finding(1))
    code, found = cli(
        "optimize", "--model", "nets:two_findings", "--data", data, "--out", tmp_path / "out", "--task", "multilabel",
        "--label-columns", "flu,cold", "--classes", "cold,flu", "--patient-column", "patient", "--preprocessing",
        in_tables(tmp_path), "--level", "minimal", "--target", "onnxruntime", "--threads", 1,
    )  # fmt: skip
    assert code == 0 and found["verdict"] == "NON_INFERIOR"
    manifest = json.loads((tmp_path / "out" / "artifact" / "manifest.json").read_text())
    assert manifest["signature"]["classes"] == ["cold", "flu"], "the order of the outputs, not of the columns"
    judged = {c["name"]: c["reference"] for c in found["verdict_detail"]["components"]}
    assert min(judged["auroc[cold]"], judged["auroc[flu]"]) > 0.8, "labels and outputs belong together"


def test_a_held_specificity_actions_and_a_guard_on_average_through_the_command_line(tmp_path):
    data = clinics.table(tmp_path / "cases.csv", 800, 8, label=clinics.finding(0))
    actions = [{"name": "home", "at": 0}, {"name": "clinic", "at": 0.3}, {"name": "ward", "at": 0.8}]
    (tmp_path / "actions.yaml").write_text(yaml.safe_dump(actions))
    (tmp_path / "recipes.yaml").write_text(write_recipes((rounded(3),)))
    code, found = cli(
        "optimize", "--model", "nets:one_finding", "--data", data, "--out", tmp_path / "out", "--patient-column",
        "patient", "--preprocessing", in_tables(tmp_path), "--level", "minimal", "--target", "onnxruntime",
        "--threads", 1, "--hold-specificity", 0.9, "--actions", tmp_path / "actions.yaml", "--recipes",
        tmp_path / "recipes.yaml", "--guard", 0.02, "--guard-delta", "average", "--margin", 0.3, "--auroc-margin", 0.3,
        "--brier-margin", 0.3,
    )  # fmt: skip
    assert code == 0 and found["delivered"]["recipe"] == f"{rounded(3)} guarded"
    manifest = json.loads((tmp_path / "out" / "artifact" / "manifest.json").read_text())
    guard = manifest["guard"]
    assert (guard["epsilon"], guard["delta"], guard["by_class"]) == (0.02, None, True) and guard["band"] > 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert manifest["threshold"] == report["frozen"]["threshold"] != 0.5
    held = report["frozen"]["achieved"]["specificity"]
    assert held["estimate"] >= 0.9 and report["frozen"]["held"] == "specificity"
    assert report["assessment"]["concordance"]["actions"] == ["home", "clinic", "ward"]
    for text in ((tmp_path / "out" / "report.html").read_text(),):
        assert "clinic" in text and "ward" in text and "deferred" in text


def test_medical_critical_guards_without_being_asked(tmp_path):
    data = clinics.table(tmp_path / "cases.csv", 900, 9, label=clinics.finding(0))
    given = {"preprocessing": in_tables(tmp_path), "group_columns": ("sex",)}
    config = minimal()
    config.level = OptimizationLevel.MEDICAL_CRITICAL
    delivery = optimized("one_finding", data, tmp_path / "out", 4, config=config, **given)
    checked(delivery, Task.BINARY)
    guards(delivery, inputs(delivery))
    band = delivery.result.guard.band
    assert band.delta == 0.05 and band.by_class and band.epsilon == band.smallest_epsilon
    assert any("guarded prediction is on" in line for line in delivery.result.adjustments)
    config.policy = ClinicalPolicy(margins=Margins(sensitivity=0.3, specificity=0.3))
    with pytest.raises(InputError, match="auroc, brier"):
        optimized("one_finding", data, tmp_path / "vague", None, config=config, **given)
    config.policy = ClinicalPolicy(margins=WIDE)
    with pytest.raises(InputError, match="--patient-column"):
        optimized("one_finding", data, tmp_path / "whose", None, config=config, **(given | {"patient_column": None}))
