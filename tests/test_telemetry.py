"""ONNX Runtime's own reporting, which no hook in Python sees, is off wherever primum loads it."""

import subprocess
import sys

import onnx
import pytest
from onnx import TensorProto, helper
from shell import environ

RUN = "import onnxruntime as ort; ort.InferenceSession('model.onnx', providers=['CPUExecutionProvider'])"


@pytest.fixture
def folder(tmp_path):
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "model.onnx"
    )
    return tmp_path


def traces(folder, code):
    """What a run leaves in a fresh home: a device id and a queue of events, where it reports."""
    home = folder / f"home-{len(list(folder.iterdir()))}"
    home.mkdir()
    environment = {k: v for k, v in environ(HOME=str(home)).items() if k not in ("CI", "ORT_DISABLE_TELEMETRY")}
    environment["XDG_CACHE_HOME"] = str(home / ".cache")
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True, capture_output=True)
    return [p for p in home.rglob("*") if "icrosoft" in str(p)]


def test_nothing_is_kept_for_reporting(folder):
    if not traces(folder, RUN):
        pytest.skip("this ONNX Runtime keeps nothing by itself")
    assert traces(folder, f"import primum; {RUN}") == []
    assert traces(folder, f"import primum.runtimes.onnxruntime; {RUN}") == []
