"""The main job on real heart beats: arrays, five classes, thirteen people who have thousands of beats each."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from shell import command, environ

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PRIMUM_DATA") or "no-data") / "mitbih-beats-360hz"

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not DATA.is_dir(), reason="PRIMUM_DATA names no folder with mitbih-beats-360hz"),
]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The README's two commands, with one epoch and one runtime."""
    out = tmp_path_factory.mktemp("ecg")
    script = ROOT / "examples" / "ecg_beats" / "train.py"
    train = [sys.executable, script, "--data", DATA, "--out", out, "--epochs", 1]
    subprocess.run([*map(str, train)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    optimize = command(
        "optimize", "--model", "examples.ecg_beats.network:build", "--checkpoint", out / "weights.safetensors",
        "--data", out / "judge.npz", "--train-data", out / "train.npz",
        "--preprocessing", ROOT / "examples" / "ecg_beats" / "preprocessing.yaml",
        "--path-column", "x", "--label-column", "y", "--classes", "N,S,V,F,Q",
        "--patient-column", "record", "--group-columns", "sex,age_band",
        "--threads", 1, "--target", "onnxruntime", "--out", out / "result", "--json",
    )  # fmt: skip
    found = subprocess.run(
        optimize, cwd=ROOT, env=environ(PRIMUM_STATE=str(out / "state")), capture_output=True, text=True
    )
    assert found.returncode in (0, 3), found.stderr
    return SimpleNamespace(out=out, summary=json.loads(found.stdout))


def test_every_class_is_judged_and_the_rare_ones_are_insufficient(done):
    detail = done.summary["verdict_detail"]
    judged = {c["name"]: c for c in detail["components"]}
    for name in "NSVFQ":
        assert {f"sensitivity[{name}]", f"auroc[{name}]"} <= set(judged), name
    assert detail["class_counts"].keys() == set("NSVFQ")
    assert judged["sensitivity[Q]"]["outcome"] == "INSUFFICIENT", "four beats of Q can decide nothing"
    assert detail["clustered"] and detail["n_patients"] <= 13, "people are counted, not beats"


def test_the_report_and_the_artifact_are_whole(done):
    report = (done.out / "result" / "report.html").read_text()
    for word in ("INSUFFICIENT", "age_band", "sex", *(f"class {name}" for name in "NSVFQ")):
        assert word in report, word
    artifact = Path(done.summary["artifact"])
    evidence = {p.name for p in (artifact / "evidence").iterdir()}
    assert {"validation.json", "benchmark.json", "flips.csv", "report.html", "mlbom.cdx.json"} <= evidence
    assert json.loads((artifact / "manifest.json").read_text())["signature"]["classes"] == list("NSVFQ")
