"""Batch norms folded exactly, or left with a reason."""

import numpy as np
import onnxruntime
import pytest
import quantizable
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from primum.runtimes.export import export_onnx
from primum.techniques.quantization.folding import FoldBatchNorm, fold_batch_norm
from primum.techniques.registry import Context, apply_all


def norms(net: nn.Module) -> int:
    return sum(isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) for m in net.modules())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), bias=st.booleans(), groups=st.sampled_from([1, 2, 4]))
def test_the_function_is_the_same_up_to_rounding(seed, bias, groups):
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(4, 8, 3, bias=bias, groups=groups), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(32, 5)
    )
    net.append(nn.BatchNorm1d(5, affine=bias))
    if bias:
        quantizable.settled(net, seed)
    net.eval()
    x = torch.randn(3, 4, 4, 4)
    before = net(x)
    folded, stays = fold_batch_norm(net)
    assert folded == ("1", "5") and not stays and norms(net) == 0
    torch.testing.assert_close(net(x), before, atol=1e-5, rtol=1e-5)


def test_a_residual_net_keeps_its_class_and_exports(tmp_path):
    net, x = quantizable.residual(), quantizable.inputs((1, 12, 12))
    context = Context()
    made = apply_all(net, (FoldBatchNorm(),), context)
    assert type(made) is type(net) and norms(made) == 0 and norms(net) == 3
    assert context.notes == ["3 batch norms folded into the layer before them"]
    export_onnx(made, (1, 12, 12), tmp_path / "m.onnx")
    got = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"input": x})[0]
    with torch.no_grad():
        np.testing.assert_allclose(got, net(torch.from_numpy(x)).numpy(), atol=1e-5)


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.other = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        return self.norm(y) + self.other(y)


class _Seen(nn.Module):
    """What the norm sees, behind a dropout, is used once more."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.drop, self.norm = nn.Conv2d(1, 2, 1), nn.Dropout(), nn.BatchNorm2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.drop(self.layer(x))
        return self.norm(y) + y


@pytest.mark.parametrize(
    "net",
    [
        _Seen(),
        _Twice(),
        nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 1)),
        nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.BatchNorm2d(2)),
        nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, track_running_stats=False)),
    ],
)
def test_a_norm_that_cannot_be_folded_stays_and_is_named(net):
    net.eval()
    before, x = net(torch.ones(2, 1, 3, 3)), torch.ones(2, 1, 3, 3)
    count = norms(net)
    folded, stays = fold_batch_norm(net)
    assert not folded and len(stays) == count == norms(net)
    torch.testing.assert_close(net(x), before)


def test_where_nothing_can_be_traced_sequential_neighbours_are_folded():
    torch.manual_seed(0)
    net, x = quantizable.settled(quantizable.Deciding()), torch.randn(4, 8)
    before = net(x)
    folded, stays = fold_batch_norm(net)
    assert folded == ("body.1",) and "cannot trace Deciding" in stays[0]
    torch.testing.assert_close(net(x), before, atol=1e-5, rtol=1e-5)
