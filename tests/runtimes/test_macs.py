"""Multiply-accumulates counted from an export: those that torch counts of the module, and those of recurrent layers."""

from pathlib import Path

import onnx
import pytest
import torch
from nets import build, rows
from onnx import TensorProto, helper
from torch import nn

from primum.runtimes.export import export_onnx
from primum.runtimes.macs import Macs, count_macs, read_macs
from primum.techniques.distillation.cost import cost


def exported(model: nn.Module, shape: tuple[int, ...], folder: Path) -> onnx.ModelProto:
    export_onnx(model.eval(), shape, folder / "export.onnx")
    return onnx.load(folder / "export.onnx")


class Up(nn.Module):
    """Convolutions in groups and a transposed one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, groups=2), nn.ConvTranspose2d(8, 4, 2, 2, groups=2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.mark.parametrize(("model", "shape"), [(build, (1, 32, 32)), (rows, (1, 32, 32)), (Up, (4, 6, 6))])
def test_they_are_those_of_the_module(model, shape, tmp_path):
    network = model()
    counted = cost(network, shape).macs
    assert counted > 0 and count_macs(exported(network, shape, tmp_path)) == Macs(counted, exact=True)


def test_weights_that_lie_beside_the_file_are_not_read(tmp_path):
    network = build()
    model = exported(network, (1, 32, 32), tmp_path)
    onnx.save(model, tmp_path / "apart.onnx", save_as_external_data=True, location="weights", size_threshold=256)
    assert (tmp_path / "weights").stat().st_size > 0
    (tmp_path / "weights").unlink()
    assert read_macs(tmp_path / "apart.onnx") == Macs(cost(network, (1, 32, 32)).macs, exact=True)


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3)])
def test_recurrent_layers_count_each_step(kind, gates, tmp_path):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = getattr(nn, kind)(8, 16, batch_first=True, bidirectional=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x)[0]

    found = count_macs(exported(Net(), (20, 8), tmp_path))
    assert found == Macs(20 * 2 * gates * 16 * (8 + 16), exact=True)


def test_what_cannot_be_counted_is_at_least_its_weights():
    value, node = helper.make_tensor_value_info, helper.make_node
    x, y = value("x", TensorProto.FLOAT, ["n", "any"]), value("y", TensorProto.FLOAT, None)
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 2], [0.0] * 8)

    def macs(*nodes: onnx.NodeProto) -> Macs:
        return count_macs(helper.make_model(helper.make_graph(nodes, "g", [x], [y], [weight])))

    rare = node("NonZero", ["x"], ["places"])
    free = [rare, node("Cast", ["places"], ["z"], to=TensorProto.FLOAT), node("MatMul", ["z", "w"], ["y"])]
    assert macs(*free) == Macs(8, exact=False), "as many rows as there are values above nothing"
    assert macs(node("Mystery", ["x", "w"], ["y"], domain="own")) == Macs(0, exact=False)
