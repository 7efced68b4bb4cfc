"""What suites of real data share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def xray(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which examples/chest_xray/train.py has trained: $PRIMUM_XRAY, else it trains once for all suites."""
    folder = Path(os.environ.get("PRIMUM_XRAY") or tmp_path_factory.mktemp("xray"))
    if not (folder / "weights.safetensors").is_file():
        data = Path(os.environ["PRIMUM_DATA"]) / "cxr-pneumonia-224" / "dev"
        train = [sys.executable, ROOT / "examples" / "chest_xray" / "train.py", "--data", data, "--out", folder]
        subprocess.run([*map(str, train)], check=True, cwd=ROOT)
    return folder
