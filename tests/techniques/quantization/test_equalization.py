"""Cross-layer equalization changes no output and makes channels equally wide."""

import numpy as np
import onnxruntime
import pytest
import quantizable
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from primum.errors import TrialError
from primum.runtimes.export import export_onnx
from primum.techniques.quantization.equalization import (
    CrossLayerEqualization,
    Pair,
    channel_ranges,
    equalize,
    find_pairs,
)
from primum.techniques.registry import Context, apply_all
from primum.techniques.rounding import RoundWeights


def uneven(net: nn.Module, seed: int) -> nn.Module:
    """Output channels of every layer scaled by up to a hundred."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                size = 10 ** (2 * torch.rand(len(module.weight), generator=source) - 1)
                module.weight.mul_(size.reshape(-1, *[1] * (module.weight.ndim - 1)))
    return net.eval()


def chain(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 1),
        nn.LeakyReLU(0.1),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(16, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_function_is_the_same_and_channels_are_equally_wide(seed):
    net = uneven(quantizable.settled(chain(seed), seed), seed)
    x = torch.randn(4, 1, 8, 8)
    made = apply_all(net, (CrossLayerEqualization(rounds=100),), Context())
    before, after = net(x), made(x)
    assert float((after - before).abs().max()) < 1e-4 * float(before.abs().max())
    pairs, left = find_pairs(made)
    assert pairs == [Pair("0", "3"), Pair("3", "6"), Pair("6", "11"), Pair("11", "13")] and not left
    for pair in pairs:
        ahead, behind = channel_ranges(made, pair)
        torch.testing.assert_close(ahead, behind, rtol=0.01, atol=1e-7)


def test_one_pair_gets_the_geometric_mean_of_the_paper():
    net = uneven(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)), 1)
    before = channel_ranges(net, Pair("0", "2"))
    equalize(net, [Pair("0", "2")], rounds=1)
    for found in channel_ranges(net, Pair("0", "2")):
        torch.testing.assert_close(found, (before[0] * before[1]).sqrt())


def test_rounding_a_whole_weight_to_one_scale_harms_less_afterwards():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3)).eval()
    scale = 10 ** (4 * torch.rand(32) - 2)
    with torch.no_grad():
        net[0].weight.mul_(scale[:, None])
        net[0].bias.mul_(scale)
        net[2].weight.div_(scale)
    x = torch.randn(64, 8)

    def error(*techniques: object) -> float:
        with torch.no_grad():
            return float((apply_all(net, techniques, Context())(x) - net(x)).abs().mean())

    assert error(CrossLayerEqualization(), RoundWeights(bits=8)) < 0.1 * error(RoundWeights(bits=8))


class _Clipped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)
        self.clip = nn.ReLU6()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(torch.relu(self.b(self.clip(self.a(x)))))


def test_other_activations_are_left_alone_and_named():
    torch.manual_seed(0)
    net, context = uneven(_Clipped(), 0), Context()
    made = apply_all(net, (CrossLayerEqualization(),), context)
    x = torch.randn(4, 1, 5, 5) * 10
    torch.testing.assert_close(made(x), net(x), atol=1e-3, rtol=1e-4)
    assert torch.equal(made.a.weight, net.a.weight) and not torch.equal(made.b.weight, net.b.weight)
    assert any("a is left: ReLU6 follows" in note for note in context.notes)


def test_channels_that_do_not_meet_are_left():
    class Steps(nn.Module):
        """A linear layer over steps, flattened: the axis of its channels comes last."""

        def __init__(self) -> None:
            super().__init__()
            self.each, self.all = nn.Linear(4, 4), nn.Linear(12, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.all(torch.flatten(torch.relu(self.each(x)), 1))

    pairs, left = find_pairs(Steps())
    assert not pairs and "channels are not those" in left[0]
    with pytest.raises(TrialError, match="nothing to equalize"):
        apply_all(Steps(), (CrossLayerEqualization(),), Context())
    # The linear layer works along the rows of the image, which happen to be as many as the channels.
    pairs, left = find_pairs(nn.Sequential(nn.Conv2d(1, 6, 1), nn.ReLU(), nn.Linear(6, 2)))
    assert not pairs and "channels are not those" in left[0]
    pairs, left = find_pairs(quantizable.residual())
    assert not any(p.first == "second" for p in pairs)


def test_it_exports(tmp_path):
    net, x = uneven(quantizable.settled(chain()), 5), quantizable.inputs((1, 8, 8))
    made = apply_all(net, (CrossLayerEqualization(),), Context())
    export_onnx(made, (1, 8, 8), tmp_path / "m.onnx")
    got = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"input": x})[0]
    with torch.no_grad():
        wanted = net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max())
