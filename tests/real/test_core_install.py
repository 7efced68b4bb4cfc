"""The core install, in a fresh environment without torch, verifies an artifact and predicts with it."""

import subprocess
import sys
from pathlib import Path

import blobs
import pytest
from shell import primum

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_core_install_loads_verifies_and_predicts(tmp_path):
    manifest = blobs.make_manifest(tmp_path / "data", 200, seed=8)
    made = primum(
        "optimize", "--model", "nets:build", "--checkpoint", blobs.fit(tmp_path / "w.safetensors"), "--data", manifest,
        "--preprocessing", manifest.parent / "preprocessing.yaml", "--patient-column", "patient_id", "--out",
        tmp_path / "out", "--level", "minimal", "--target", "onnxruntime", PRIMUM_STATE=str(tmp_path / "state"),
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "core"], check=True)
    python = tmp_path / "core" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", ROOT]
    subprocess.run(install, check=True)
    image = next((manifest.parent / "images").iterdir())
    code = (
        "import importlib.util, primum\n"
        "assert importlib.util.find_spec('torch') is None and importlib.util.find_spec('onnx') is None\n"
        f"with primum.load({str(tmp_path / 'out' / 'artifact')!r}) as p:\n"
        f"    print(p.predict({str(image)!r}).shape)\n"
    )
    assert "(1, 2)" in subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout
    verified = subprocess.run([tmp_path / "core" / "bin" / "primum", "verify", tmp_path / "out" / "artifact"])
    assert verified.returncode == 0
