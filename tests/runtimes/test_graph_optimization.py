"""What each runtime does to a graph by itself: normalization folded, activations fused, constants computed once."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from primum.models.signature import Signature
from primum.runtimes.base import BuildSource, Target, get_runtime
from primum.runtimes.onnxruntime import optimized_kinds

SIGNATURE = Signature(input_shape=(1, 12, 12), outputs=2, classes=("a", "b"), activation="softmax")


class Normalized(nn.Module):
    """A convolution, its normalization, a rectifier, and a constant that is computed from constants."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 2, 10)
        self.register_buffer("scale", torch.tensor([2.0, 3.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.conv(x)))).flatten(1) * (self.scale.exp() + 1)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    net = Normalized().eval()
    net.norm.running_mean.normal_()
    net.norm.running_var.uniform_(0.5, 2)
    return net


@pytest.fixture(scope="module")
def unfolded(net, tmp_path_factory) -> Path:
    """An export that still holds the normalization, so that folding it is the runtime's own doing."""
    path = tmp_path_factory.mktemp("unfolded") / "net.onnx"
    torch.onnx.export(
        net,
        (torch.zeros(2, 1, 12, 12),),
        path,
        dynamo=False,
        opset_version=17,
        do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
    )
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert {"BatchNormalization", "Exp", "Relu"} <= kinds
    return path


def opened(runtime: str, net: nn.Module, unfolded: Path, folder: Path):
    adapter, target = get_runtime(runtime), Target(runtime=runtime, threads=1)
    adapter.build(BuildSource(SIGNATURE, net, unfolded, np.zeros((1, 1, 12, 12), np.float32)), target, folder)
    session = adapter.open(folder, target, None)
    x = np.random.default_rng(0).normal(size=(3, 1, 12, 12)).astype(np.float32)
    with torch.inference_mode():
        np.testing.assert_allclose(session.run(x), net(torch.from_numpy(x)).numpy(), rtol=1e-3, atol=1e-4)
    return session


def test_onnxruntime_folds_and_fuses(net, unfolded, tmp_path):
    opened("onnxruntime", net, unfolded, tmp_path)
    kinds = optimized_kinds(tmp_path / "model.onnx")
    assert kinds["FusedConv"] + kinds["Conv"] == 2 and not {"BatchNormalization", "Relu", "Exp"} & set(kinds), kinds


def test_openvino_folds_and_fuses(net, unfolded, tmp_path):
    session = opened("openvino", net, unfolded, tmp_path)
    kinds: Counter[str] = Counter(
        op.get_rt_info()["layerType"].astype(str) for op in session._compiled.get_runtime_model().get_ops()
    )
    assert kinds["Convolution"] >= 1
    assert not any("BatchNorm" in kind or kind in ("Relu", "Exp") for kind in kinds), kinds


def test_torchscript_folds_the_normalization(net, unfolded, tmp_path):
    opened("torchscript", net, unfolded, tmp_path)
    graph = str(torch.jit.load(str(tmp_path / "model.ts")).inlined_graph)
    assert "batch_norm" not in graph and "conv" in graph.lower()
