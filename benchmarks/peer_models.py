"""Four networks of the sizes that clinics run, with made-up data that they can tell apart.

Weights are random: speed does not depend on them. Batch norm statistics are estimated on the data and the last layer is
fitted to them, so that outputs are as well scaled as a trained network's and survive rounding as far as those do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

SEED = 20260
_FITTED, _BATCH = 128, 16
_RIDGE = 0.1
_LOGIT = 4.0
"""Mean size of the fitted logits."""


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut (He et al. 2016, arXiv:1512.03385); the stride is in the 3x3."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != 4 * width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )
        # Small residuals, as training leaves them: random ones of full size drown the signal in 16 blocks.
        nn.init.constant_(self.bn3.weight, 0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, 4 * width, H / stride, W / stride)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return functional.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


class ResNet50(nn.Module):
    """(N, 3, 224, 224) to one logit."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        blocks, inputs = [], 64
        for number, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
            for place in range(depth):
                blocks.append(Bottleneck(inputs, width, 2 if number and not place else 1))
                inputs = 4 * width
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(inputs, 1)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """What the head sees, (N, 2048)."""
        return self.blocks(self.stem(x)).mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1)."""
        return self.head(self.features(x))


class DenseLayer(nn.Module):
    """Adds 32 channels to those it gets (Huang et al. 2017, arXiv:1608.06993)."""

    def __init__(self, inputs: int, growth: int = 32) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, inputs, H, W) to (N, inputs + growth, H, W)."""
        y = self.conv1(functional.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(functional.relu(self.norm2(y)))], 1)


class DenseNet121(nn.Module):
    """(N, 3, 224, 224) to one logit."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        ]
        width, depths = 64, (6, 12, 24, 16)
        for depth in depths:
            layers += [DenseLayer(width + 32 * k) for k in range(depth)]
            width += 32 * depth
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
            if depth != depths[-1]:
                layers += [nn.Conv2d(width, width // 2, 1, bias=False), nn.AvgPool2d(2)]
                width //= 2
        self.body, self.head = nn.Sequential(*layers), nn.Linear(width, 1)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """What the head sees, (N, 1024)."""
        return self.body(x).mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1)."""
        return self.head(self.features(x))


class Block(nn.Module):
    """Self-attention and two dense layers, each normalized after its shortcut (Devlin et al. 2019)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.mixed, self.norm1 = nn.Linear(width, width), nn.LayerNorm(width, eps=1e-12)
        self.up, self.down, self.norm2 = (
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
            nn.LayerNorm(width, eps=1e-12),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, tokens, width) to the same."""
        n, tokens, width = x.shape
        q, k, v = (
            layer(x).view(n, tokens, self.heads, width // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        attended = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width)
        x = self.norm1(x + self.mixed(attended))
        return self.norm2(x + self.down(functional.gelu(self.up(x))))


class Encoder(nn.Module):
    """Embeddings (N, 128, 384) to one logit: six layers of twelve heads."""

    def __init__(self, width: int = 384, tokens: int = 128) -> None:
        super().__init__()
        self.positions = nn.Parameter(0.1 * torch.randn(tokens, width))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.blocks, self.head = nn.Sequential(*(Block(width, 12) for _ in range(6))), nn.Linear(width, 1)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """What the head sees, (N, 384)."""
        return self.blocks(self.norm(x + self.positions)).mean(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1)."""
        return self.head(self.features(x))


class Tabular(nn.Module):
    """Thirty measurements to one logit."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.head = nn.Linear(32, 1)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """What the head sees, (N, 32)."""
        return self.body(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 1)."""
        return self.head(self.features(x))


def gratings(n: int, seed: int) -> NDArray[np.float32]:
    """(n, 3, 224, 224): stripes that lie or stand, by turns, under noise."""
    generator = np.random.default_rng(seed)
    angle = (np.arange(n) % 2) * np.pi / 2 + generator.uniform(-0.4, 0.4, n)
    frequency, phase = generator.uniform(0.15, 0.5, n), generator.uniform(0, 2 * np.pi, n)
    y, x = np.mgrid[:224, :224].astype(np.float32)
    images = np.empty((n, 3, 224, 224), np.float32)
    for i in range(n):
        wave = np.sin(frequency[i] * (x * np.cos(angle[i]) + y * np.sin(angle[i])) + phase[i])
        images[i] = wave * generator.uniform(0.6, 1.4, (3, 1, 1))
    return images + generator.normal(0, 0.5, images.shape).astype(np.float32)


def sentences(n: int, seed: int) -> NDArray[np.float32]:
    """(n, 128, 384): embeddings of 128 words; every other case has a third of its words from a vocabulary apart."""
    table = np.random.default_rng(SEED).normal(0, 1, (1000, 384)).astype(np.float32)
    generator = np.random.default_rng(seed)
    words = generator.integers(0, 900, (n, 128))
    marked = (generator.random((n, 128)) < 1 / 3) & (np.arange(n) % 2 == 1)[:, None]
    return table[np.where(marked, generator.integers(900, 1000, (n, 128)), words)]


def rows(n: int, seed: int) -> NDArray[np.float32]:
    """(n, 30): normal values; every other case is shifted."""
    direction = np.random.default_rng(SEED).normal(0, 0.6, 30)
    noise = np.random.default_rng(seed).normal(0, 1, (n, 30))
    return np.asarray(noise + (np.arange(n) % 2)[:, None] * direction, np.float32)


@dataclass(frozen=True)
class Network:
    """One of the four. `make` is the factory that primum gets; `cases` are judged by it, `few` of them with --quick."""

    name: str
    title: str
    make: Callable[[], nn.Module]
    draw: Callable[[int, int], NDArray[np.float32]]
    cases: int
    few: int
    transformer: bool = False

    @property
    def factory(self) -> str:
        """As `primum optimize --model` takes it."""
        return f"{__name__}:{self.make.__name__}"


NETWORKS = {
    n.name: n
    for n in (
        Network("mlp", "tabular network 30-64-32-1", Tabular, rows, 3000, 600),
        Network("encoder", "encoder, 6 layers, width 384, 128 tokens", Encoder, sentences, 400, 240, True),
        Network("densenet121", "DenseNet-121, 224 px", DenseNet121, gratings, 240, 200),
        Network("resnet50", "ResNet-50, 224 px", ResNet50, gratings, 240, 200),
    )
}


def prepare(name: str, weights: Path, data: Path, calibration: Path, timed: Path, cases: int, few: int) -> None:
    """Write the weights (.safetensors), the labelled cases (.npz, inputs and labels), and `few` calibration and timed
    inputs (.npy). The labels are the network's own decisions: the question is speed, and whether decisions stay.
    """
    from safetensors.torch import save_file

    network = NETWORKS[name]
    torch.manual_seed(SEED)
    module = network.make()
    _settle(module, network.draw(_FITTED, SEED + 1))
    save_file({k: v.contiguous() for k, v in module.state_dict().items()}, weights)
    inputs = network.draw(cases, SEED + 2)
    np.savez(data, inputs=inputs, labels=(_run(module, inputs)[:, 0] >= 0).astype(np.int64))
    np.save(calibration, network.draw(few, SEED + 3))
    np.save(timed, network.draw(few, SEED + 4))


@torch.no_grad()
def _settle(module: nn.Module, inputs: NDArray[np.float32]) -> None:
    """Statistics of the batch norms, then the head by ridge regression on which case is odd."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    if norms:
        for norm in norms:
            norm.momentum = None
        module.train()
        for start in range(0, _FITTED // 2, _BATCH):
            module.features(torch.from_numpy(inputs[start : start + _BATCH]))
    module.eval()
    seen = np.concatenate(
        [module.features(torch.from_numpy(inputs[i : i + _BATCH])).numpy() for i in range(0, _FITTED, _BATCH)]
    ).astype(np.float64)
    centre, spread = seen.mean(0), seen.std(0) + 1e-6
    scaled, wanted = (seen - centre) / spread, np.where(np.arange(_FITTED) % 2, _LOGIT, -_LOGIT)
    gram = scaled.T @ scaled + _RIDGE * len(seen) * np.eye(scaled.shape[1])
    slope = np.linalg.solve(gram, scaled.T @ wanted) / spread
    module.head.weight.copy_(torch.from_numpy(slope[None]).float())
    module.head.bias.fill_(float(-slope @ centre))


@torch.no_grad()
def _run(module: nn.Module, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate(
        [module(torch.from_numpy(inputs[i : i + _BATCH])).numpy() for i in range(0, len(inputs), _BATCH)]
    )
