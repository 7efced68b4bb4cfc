"""Transposed convolutions in groups lose channels of every group; where they cannot, it is said why."""

import pytest
import torch
from torch import nn

from primum.errors import TrialError
from primum.techniques.pruning.structured import PruneChannels, prune_channels
from primum.techniques.registry import Context


def network(outputs: int, groups: int, *more: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    first, middle = nn.Conv2d(3, 32, 3), nn.ConvTranspose2d(32, outputs, 2, 2, groups=groups)
    return nn.Sequential(first, nn.ReLU(), middle, nn.ReLU(), *more, nn.Conv2d(outputs, 4, 1)).eval()


@pytest.mark.parametrize(("outputs", "groups"), [(32, 4), (64, 4), (16, 2), (64, 32)])
def test_channels_that_carry_nothing_go_from_every_group(outputs, groups):
    net, x = network(outputs, groups), torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        size = outputs // groups
        for group in range(groups):
            rows = slice(group * 32 // groups, (group + 1) * 32 // groups)
            dead = list(range(0, size, 2))
            net[2].weight[rows, dead] = 0
            net[2].bias[[group * size + i for i in dead]] = 0
    config = PruneChannels(ratio=0.5, round_to=1, ignored=("0",), importance="activation")
    removal = prune_channels(net, config, Context(calibration=x.numpy()))
    made = removal.model[2]
    assert (made.out_channels, made.in_channels, made.groups) == (outputs // 2, 32, groups)
    assert made.weight.shape[:2] == (32, outputs // groups // 2)
    with torch.inference_mode():
        torch.testing.assert_close(removal.model(x), net(x), atol=1e-5, rtol=1e-4)


def test_what_is_read_by_groups_goes_too():
    removal = prune_channels(network(32, 4), PruneChannels(ratio=0.5), Context(), torch.randn(1, 3, 12, 12))
    assert removal.model[0].out_channels == removal.model[2].in_channels == removal.model[2].out_channels == 16
    assert not removal.unpruned


def test_beside_depthwise_ones_they_stay_with_the_reason():
    net = network(32, 4, nn.ConvTranspose2d(32, 32, 2, 2, groups=32))
    with pytest.raises(TrialError, match="2 is transposed and in groups, beside depthwise ones of its kind"):
        prune_channels(net, PruneChannels(ratio=0.5), Context(), torch.randn(1, 3, 12, 12))
