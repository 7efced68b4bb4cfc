"""The README's code runs as written, in a folder that holds what it names."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import blobs
import pytest
from shell import SUPPORT, environ

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("readme")
    blobs.fit(place / "weights.safetensors")
    manifest = blobs.make_manifest(place / "data", 200, seed=6)
    shutil.copy(SUPPORT / "nets.py", place / "mynet.py")
    shutil.copy(manifest.parent / "preprocessing.yaml", place)
    shutil.move(manifest.parent / "images", place / "images")
    lines = manifest.read_text().splitlines()
    (place / "judge.csv").write_text("\n".join([lines[0] + ",site", *(f"{x},A" for x in lines[1:])]) + "\n")
    shutil.copy(next((place / "images").iterdir()), place / "chest.png")
    return place


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = environ(
        PRIMUM_STATE=str(folder / "state"), PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    )
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)


@pytest.mark.slow
def test_the_command_and_the_python_code_run(folder):
    command = next(b for b in blocks("bash") if "primum optimize" in b)
    line = command.replace("\\\n", " ").split("primum optimize", 1)[1].splitlines()[0]
    done = run(["primum", "optimize", *shlex.split(line), "--threads", "1", "--target", "onnxruntime"], folder)
    assert done.returncode in (0, 3), done.stderr
    loading, calling = blocks("python")
    done = run([sys.executable, "-c", loading + "\nassert probabilities.shape == (1, 2)"], folder)
    assert done.returncode == 0, done.stderr
    small = calling.replace(
        'preprocessing="preprocessing.yaml",',
        'preprocessing="preprocessing.yaml", config=primum.OptimizationConfig(runtimes=("onnxruntime",), threads=1),',
    ).replace('"result"', '"other"')
    assert small != calling
    done = run([sys.executable, "-c", small], folder)
    assert done.returncode == 0 and "other/artifact" in done.stdout, done.stderr
