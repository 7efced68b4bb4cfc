"""The main job on real chest X-rays: trains on some patients, optimizes and judges on others (make test-real)."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from shell import command, environ

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PRIMUM_DATA") or "no-data") / "cxr-pneumonia-224" / "dev"

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not DATA.is_dir(), reason="PRIMUM_DATA names no folder with cxr-pneumonia-224"),
]


def arguments(trained: Path, out: Path, *more: object) -> list[str]:
    return command(
        "optimize", "--model", "examples.chest_xray.network:build", "--checkpoint", trained / "weights.safetensors",
        "--data", trained / "judge_manifest.csv", "--train-data", trained / "train_manifest.csv",
        "--image-root", DATA / "train.zip", "--preprocessing", ROOT / "examples" / "chest_xray" / "preprocessing.yaml",
        "--patient-column", "patient_id", "--group-columns", "subtype", "--margin", "0.03",
        "--auroc-margin", "0.05", "--brier-margin", "0.02",
        "--out", out, "--json", *more,
    )  # fmt: skip


def test_the_winner_is_fast_small_and_judged(xray, tmp_path):
    state = {"PRIMUM_STATE": str(tmp_path / "state")}
    done = subprocess.run(
        arguments(xray, tmp_path / "result"), cwd=ROOT, env=environ(**state), capture_output=True, text=True
    )
    assert done.returncode in (0, 3), done.stderr
    summary = json.loads(done.stdout)
    verdicts = {"NON_INFERIOR", "INCONCLUSIVE"}
    assert summary["verdict"] in verdicts, "INFERIOR would mean that harm was found in an accepted recipe"
    assert summary["accepted"] == (summary["verdict"] == "NON_INFERIOR")
    if summary["accepted"]:
        assert summary["size_ratio"] >= 3.5
        assert summary["speedup"] >= 5
    assert json.loads((xray / "training.json").read_text())["patients_never_seen"]["auroc"] >= 0.95
    report = (tmp_path / "result" / "report.html").read_text()
    assert "SYNTHETIC" not in report and "person" not in report
