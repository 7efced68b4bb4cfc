"""The main job on real chest X-rays: trains on some patients, optimizes and judges on others (make test-real)."""

import json
import os
import subprocess
import sys
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


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("xray")
    train = [sys.executable, ROOT / "examples" / "chest_xray" / "train.py", "--data", DATA, "--out", out]
    subprocess.run([*map(str, train)], check=True, cwd=ROOT)
    return out


def arguments(trained: Path, *more: object) -> list[str]:
    return command(
        "optimize", "--model", "examples.chest_xray.network:build", "--checkpoint", trained / "weights.safetensors",
        "--data", trained / "judge_manifest.csv", "--train-data", trained / "train_manifest.csv",
        "--image-root", DATA / "train.zip", "--preprocessing", ROOT / "examples" / "chest_xray" / "preprocessing.yaml",
        "--patient-column", "patient_id", "--group-columns", "subtype", "--margin", "0.03",
        "--auroc-margin", "0.05", "--brier-margin", "0.02",
        "--out", trained / "result", "--json", *more,
    )  # fmt: skip


def test_the_winner_is_fast_small_and_judged(trained):
    state = {"PRIMUM_STATE": str(trained / "state")}
    done = subprocess.run(arguments(trained), cwd=ROOT, env=environ(**state), capture_output=True, text=True)
    assert done.returncode in (0, 3), done.stderr
    summary = json.loads(done.stdout)
    verdicts = {"NON_INFERIOR", "INCONCLUSIVE"}
    assert summary["verdict"] in verdicts, "INFERIOR would mean that harm was found in an accepted recipe"
    assert summary["accepted"] == (summary["verdict"] == "NON_INFERIOR")
    if summary["accepted"]:
        assert summary["size_ratio"] >= 3.5
        assert summary["speedup"] >= 5
    assert json.loads((trained / "training.json").read_text())["patients_never_seen"]["auroc"] >= 0.95
    report = (trained / "result" / "report.html").read_text()
    assert "SYNTHETIC" not in report and "person" not in report
