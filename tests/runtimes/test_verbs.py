"""The one-line ONNX verbs of the optimization guide."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import quantized
import torch
from torch import nn

from primum.errors import InputError, TrialError
from primum.runtimes import verbs
from primum.runtimes.verbs import create_onnx_session, export_to_onnx


def small() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    net[1].running_mean.normal_()
    return net


def test_the_guide_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, input_data = small(), np.random.default_rng(0).normal(size=(5, 1, 8, 8)).astype(np.float32)
    export_to_onnx(model, torch.zeros(1, 1, 8, 8), "model.onnx")
    session = create_onnx_session("model_optimized.onnx")
    result = session.run(None, {"input": input_data})
    with torch.inference_mode():
        np.testing.assert_allclose(result[0], model.eval()(torch.from_numpy(input_data)).numpy(), atol=1e-5)
    assert session.provider in ort.get_available_providers()


def test_the_optimized_copy_holds_fused_operators(tmp_path):
    written = export_to_onnx(small(), torch.zeros(2, 1, 8, 8), tmp_path / "net.onnx")
    kinds = [node.op_type for node in onnx.load(written.optimized).graph.node]
    assert "FusedConv" in kinds and "BatchNormalization" not in kinds and "Relu" not in kinds


def test_attention_is_fused_and_said(tmp_path):
    written = export_to_onnx(quantized.encoder(), torch.randn(2, 16, 24), tmp_path / "encoder.onnx")
    assert written.notes[0].startswith("fused: 2 Attention")
    assert "Attention" in [node.op_type for node in onnx.load(written.optimized).graph.node]


def test_several_inputs_are_numbered(tmp_path):
    class Two(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a * 2 + b

    written = export_to_onnx(Two(), (torch.ones(2, 3), torch.ones(2, 3)), tmp_path / "two.onnx")
    assert [entry.name for entry in create_onnx_session(written.path).get_inputs()] == ["input_0", "input_1"]


def test_numbers_that_differ_are_no_export(tmp_path):
    class Counting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum(1) * float(len(x))

    with pytest.raises(TrialError, match="does not (give the model's numbers|run on 4 cases)"):
        export_to_onnx(Counting(), torch.ones(2, 3), tmp_path / "counting.onnx")


def test_bad_input_is_named(tmp_path):
    with pytest.raises(InputError, match="tensor"):
        export_to_onnx(small(), [1, 2], tmp_path / "a.onnx")
    with pytest.raises(InputError, match=r"\.onnx"):
        export_to_onnx(small(), torch.zeros(1, 1, 8, 8), tmp_path / "a.pt")
    with pytest.raises(InputError, match="no file"):
        create_onnx_session(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_text("hello")
    with pytest.raises(InputError, match="no ONNX graph"):
        create_onnx_session(tmp_path / "bad.onnx")


def test_another_provider_than_was_asked_is_refused(tmp_path, monkeypatch):
    """A build for GPUs on a machine without a driver comes up on the CPU: that is found out."""
    path: Path = export_to_onnx(small(), torch.zeros(2, 1, 8, 8), tmp_path / "net.onnx").path
    real = verbs.OnnxSession

    class Fallen(real):
        def __init__(self, path: str, sess_options: object, providers: list[str]) -> None:
            super().__init__(path, sess_options=sess_options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(verbs, "OnnxSession", Fallen)
    with pytest.raises(TrialError, match="asked for CUDAExecutionProvider, ONNX Runtime runs CPUExecutionProvider"):
        create_onnx_session(path)
