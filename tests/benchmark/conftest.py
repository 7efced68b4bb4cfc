import sys

import numpy as np
import pytest
from PIL import Image

NETWORK = '''
import torch
from torch import nn


class Net(nn.Module):
    """Grey (N, 1, 32, 32) to two logits; brighter is more positive."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        x = torch.relu(self.conv2(torch.relu(self.conv(x))))
        return self.head(x.mean((2, 3)))


def build():
    torch.manual_seed(7)
    net = Net()
    with torch.no_grad():
        for layer in (net.conv, net.conv2):
            layer.weight.abs_()
            layer.bias.zero_()
        net.head.weight[0], net.head.weight[1] = -1.0, 1.0
        grey = net(torch.full((1, 1, 32, 32), 0.5))[0, 1]
        net.head.bias[:] = torch.stack([grey, -grey])
    return net


def noisy():
    net = build()
    with torch.no_grad():
        net.head.weight.mul_(1.5)
    return net


def colour():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1), nn.Sigmoid())
'''


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    """ "module:factory@weights" of a small real network; dark images are negative, bright ones positive."""
    import torch

    folder = tmp_path_factory.mktemp("network")
    (folder / "tiny_benchmark_net.py").write_text(NETWORK)
    sys.path.insert(0, str(folder))
    import tiny_benchmark_net

    torch.save(tiny_benchmark_net.build().state_dict(), folder / "weights.pt")
    yield f"tiny_benchmark_net:build@{folder / 'weights.pt'}"
    sys.path.remove(str(folder))
    sys.modules.pop("tiny_benchmark_net", None)


@pytest.fixture(scope="session")
def xrays(tmp_path_factory):
    """Sixteen dark images in NORMAL and sixteen bright ones in PNEUMONIA; the last of each is of the other kind."""
    root = tmp_path_factory.mktemp("xrays")
    rng = np.random.default_rng(0)
    for name, level, odd in (("NORMAL", 60, 190), ("PNEUMONIA", 190, 60)):
        (root / name).mkdir()
        for i in range(16):
            base = odd if i == 15 else level
            pixels = np.clip(rng.normal(base, 20, (32, 32)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i:02d}.png")
    return root


@pytest.fixture(scope="session")
def labels():
    return [0] * 16 + [1] * 16
