"""Small things to learn: images and tables whose labels a small network can find."""

import numpy as np
import torch
from torch import nn

from primum.models.signature import Activation, Signature
from primum.task import Task
from primum.techniques.context import TrainingData


def stripes(count=160, size=16, classes=2, noise=0.6, seed=0, cases_a_patient=2):
    """(N, 1, size, size) images striped along one axis, the other, or (third class) not at all."""
    source = np.random.default_rng(seed)
    labels = source.integers(0, classes, count)
    wave = np.sin(np.arange(size) * 1.6 + source.uniform(0, 6, (count, 1)))
    images = np.where(
        (labels == 0)[:, None, None],
        wave[:, None, :] * np.ones((1, size, 1)),
        np.where((labels == 1)[:, None, None], wave[:, :, None] * np.ones((1, 1, size)), 0),
    )
    images = (images + noise * source.normal(size=images.shape)).astype(np.float32)[:, None]
    units = np.array([f"seed {seed} patient {i // cases_a_patient}" for i in range(count)])
    return TrainingData(images, labels.astype(np.int64), units)


def stripes_signature(outputs=2, size=16):
    return Signature(
        input_shape=(1, size, size),
        outputs=outputs,
        task=Task.MULTICLASS if outputs > 2 else Task.BINARY,
        classes=tuple("abc"[: max(outputs, 2)]),
        activation=Activation.SIGMOID if outputs == 1 else Activation.SOFTMAX,
    )


class Block(nn.Module):
    """Residual; the same shape out as in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu2(x + self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))


class Small(nn.Module):
    """Residual net with dropout for 1-channel images of any size."""

    def __init__(self, outputs: int = 2, channels: int = 16, blocks: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.blocks = nn.Sequential(*[Block(channels) for _ in range(blocks)])
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(torch.flatten(self.pool(self.blocks(self.stem(x))), 1)))


def small(outputs=2, channels=16, blocks=3, dropout=0.1, seed=0):
    torch.manual_seed(seed)
    return Small(outputs, channels, blocks, dropout).eval()


@torch.inference_mode()
def accuracy(model: nn.Module, data: TrainingData) -> float:
    out = model.eval()(torch.from_numpy(data.inputs))
    guess = (out[:, 0] > 0).long() if out.shape[1] == 1 else out.argmax(1)
    return float((guess.numpy() == data.labels).mean())
