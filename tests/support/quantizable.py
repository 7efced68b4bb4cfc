"""Small networks of each kind that quantizers meet, and tasks that they learn in seconds."""

import numpy as np
import torch
from torch import nn

from primum.models.signature import Activation, Signature
from primum.task import Task
from primum.techniques.context import TrainingData

CLASSES = 3


class Residual(nn.Module):
    """(N, 1, 12, 12) to three logits: convolutions, batch norms, a shared ReLU, a residual addition."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        )
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        inner = self.norm2(self.second(self.relu(self.norm1(self.first(x)))))
        return self.head(self.relu(inner + x).mean((2, 3)))


class Encoder(nn.Module):
    """(N, 6, 8) to three logits: two transformer layers, as torch ships them."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        layer = nn.TransformerEncoderLayer(width, 2, 32, dropout=0.0, batch_first=True, norm_first=False)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.embed(x)).mean(1))


class Recurrent(nn.Module):
    """(N, 6, 8) to three logits by an LSTM or a GRU."""

    def __init__(self, kind: type[nn.Module] = nn.LSTM, width: int = 16) -> None:
        super().__init__()
        self.core = kind(8, width, batch_first=True)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.core(x)[0][:, -1])


class Deciding(nn.Module):
    """(N, 8) to three logits; its forward function depends on values, so that nothing can trace it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if float(x.sum()) > 1e9:
            x = x / 2
        return self.head(self.body(x))


def settled(net: nn.Module, seed: int = 0) -> nn.Module:
    """The net with batch norms as after training: statistics, scales and shifts that matter."""
    source = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            size = module.num_features
            module.running_mean.copy_(torch.randn(size, generator=source) * 0.3)
            module.running_var.copy_(torch.rand(size, generator=source) + 0.3)
            module.weight.data.copy_(torch.rand(size, generator=source) + 0.5)
            module.bias.data.copy_(torch.randn(size, generator=source) * 0.2)
    return net.eval()


def residual(seed: int = 0, width: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    return settled(Residual(width), seed)


def encoder(seed: int = 0, width: int = 16) -> nn.Module:
    torch.manual_seed(seed)
    return Encoder(width).eval()


def recurrent(kind: type[nn.Module] = nn.LSTM, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Recurrent(kind).eval()


def mlp(seed: int = 0, width: int = 32) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, CLASSES))
    return settled(net, seed)


def signature(shape: tuple[int, ...]) -> Signature:
    return Signature(
        input_shape=shape,
        outputs=CLASSES,
        task=Task.MULTICLASS,
        classes=("a", "b", "c"),
        activation=Activation.SOFTMAX,
    )


def inputs(shape: tuple[int, ...], count: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def images(count: int, seed: int) -> TrainingData:
    """Stripes across, stripes along and a check, under noise: (count, 1, 12, 12)."""
    source = np.random.default_rng(seed)
    labels = source.integers(0, CLASSES, count)
    rows, columns = np.mgrid[:12, :12]
    patterns = np.stack([rows % 4 < 2, columns % 4 < 2, (rows // 2 + columns // 2) % 2 == 0]).astype(np.float32)
    shift = source.integers(0, 4, (count, 2))
    moved = np.stack([np.roll(patterns[k], tuple(s), (0, 1)) for k, s in zip(labels, shift)])
    noisy = moved - 0.5 + source.normal(0, 1.2, moved.shape)
    return _data(noisy[:, None], labels)


def sequences(count: int, seed: int) -> TrainingData:
    """Which of three columns has the highest peak: (count, 6, 8)."""
    source = np.random.default_rng(seed)
    walks = source.normal(size=(count, 6, 8))
    labels = walks[:, :, :CLASSES].max(1).argmax(1)
    return _data(walks, labels)


def _data(values: np.ndarray, labels: np.ndarray) -> TrainingData:
    units = np.array([f"p{i}" for i in range(len(values))])
    return TrainingData(values.astype(np.float32), labels.astype(np.int64), units)


def fit(net: nn.Module, data: TrainingData, steps: int = 150, rate: float = 5e-3) -> nn.Module:
    """The net trained on all of `data` in full batches of 128, in evaluation mode."""
    torch.manual_seed(0)
    source = np.random.default_rng(0)
    optimizer = torch.optim.Adam(net.parameters(), rate)
    net.train()
    for _ in range(steps):
        rows = source.integers(0, len(data), 128)
        outputs = net(torch.from_numpy(data.inputs[rows]))
        loss = nn.functional.cross_entropy(outputs, torch.from_numpy(data.labels[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval()


def accuracy(net: nn.Module, data: TrainingData) -> float:
    with torch.no_grad():
        return float((net(torch.from_numpy(data.inputs)).argmax(1).numpy() == data.labels).mean())
