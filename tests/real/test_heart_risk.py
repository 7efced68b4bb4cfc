"""The main job on a real health survey: rows of a table, three grouping columns, a threshold of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from shell import command, environ

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PRIMUM_DATA") or "no-data") / "brfss2020-heart"

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not DATA.is_dir(), reason="PRIMUM_DATA names no folder with brfss2020-heart"),
]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The README's two commands, with fewer epochs and one runtime."""
    out = tmp_path_factory.mktemp("heart")
    script = ROOT / "examples" / "heart_risk" / "train.py"
    train = [sys.executable, script, "--data", DATA, "--out", out, "--epochs", 2]
    subprocess.run([*map(str, train)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    training = json.loads((out / "training.json").read_text())
    optimize = command(
        "optimize", "--model", "examples.heart_risk.network:build", "--checkpoint", out / "weights.safetensors",
        "--data", out / "judge.csv", "--train-data", out / "train.csv", "--preprocessing", out / "preprocessing.yaml",
        "--label-column", "HeartDisease", "--positive-class", "Yes", "--threshold", training["threshold"],
        "--group-columns", "Sex,AgeCategory,Race", "--independent",
        "--threads", 1, "--target", "onnxruntime", "--out", out / "result", "--json",
    )  # fmt: skip
    found = subprocess.run(
        optimize, cwd=ROOT, env=environ(PRIMUM_STATE=str(out / "state")), capture_output=True, text=True
    )
    assert found.returncode in (0, 3), found.stderr
    return SimpleNamespace(out=out, training=training, summary=json.loads(found.stdout))


def test_every_group_is_judged_and_those_with_few_diseased_are_insufficient(done):
    groups = done.summary["verdict_detail"]["subgroups"]
    assert {g["column"] for g in groups} == {"Sex", "AgeCategory", "Race"}
    assert len([g for g in groups if g["column"] == "AgeCategory"]) == 13
    smallest = min((g for g in groups if g["column"] == "AgeCategory"), key=lambda g: g["n_positive"])
    assert smallest["outcome"] == "INSUFFICIENT", smallest["value"]
    needed = next(c for c in smallest["components"] if c["name"] == "sensitivity")
    assert needed["n_would_decide"] > smallest["n_positive"]


def test_the_report_and_the_artifact_are_whole(done):
    assert done.training["answers_never_seen"]["auroc"] > 0.8
    report = (done.out / "result" / "report.html").read_text()
    for word in ("Sex", "AgeCategory", "Race", "sensitivity", "AUROC", "INSUFFICIENT", "Calibration"):
        assert word in report, word
    evidence = {p.name for p in (Path(done.summary["artifact"]) / "evidence").iterdir()}
    assert {"validation.json", "benchmark.json", "flips.csv", "report.html", "mlbom.cdx.json"} <= evidence
    endpoints = {c["name"] for c in done.summary["verdict_detail"]["components"]}
    assert endpoints >= {"sensitivity", "specificity", "auroc", "brier"}
