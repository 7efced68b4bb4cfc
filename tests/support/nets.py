"""Small networks that tests name as `nets:build` and so on, as a user names a factory."""

import numpy as np
import torch
from torch import nn


class Blob(nn.Module):
    """(N, 1, 32, 32) to one logit; 2.7 MB of weights, so that quantizing it is worth while."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 64, 3, stride=2, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 256, 3, stride=2, padding=1),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(1024, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


def build() -> nn.Module:
    torch.manual_seed(0)
    return Blob().eval()


class Convolutions(nn.Module):
    """Blob's function written with convolutions alone: the last reads the 2x2 map that Blob flattens."""

    def __init__(self) -> None:
        super().__init__()
        self.features = Blob().features[:-1]
        self.head = nn.Conv2d(256, 1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x)).mean((2, 3))


def convolutions() -> nn.Module:
    return Convolutions().eval()


def two_logits() -> nn.Module:
    net = Blob()
    net.head = nn.Linear(1024, 2)
    return net.eval()


class _Broken(Blob):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * float("nan")


def nan() -> nn.Module:
    return _Broken().eval()


def not_a_module() -> str:
    return "nothing"


class Tiny(nn.Module):
    """A few hundred weights: too small to quantize."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(1024, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return Tiny().eval()


class Rows(nn.Module):
    """(N, 1, 32, 32) to one logit: torch's own attention layers over the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x.flatten(1, 2)).amax(1))


def rows() -> nn.Module:
    torch.manual_seed(0)
    return Rows().eval()


CENTRES = np.random.default_rng(7).normal(0.0, 0.5, (3, 16))
"""Where the three kinds of `clinics.arrays` lie."""
WEIGHTS = np.random.default_rng(8).normal(0.0, 1.0, (2, 6))
"""What the columns of `clinics` tables weigh, in two ways."""


def _linear(weight: np.ndarray, bias: np.ndarray | float = 0.0) -> nn.Module:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(np.broadcast_to(bias, len(weight)).copy()))
    return layer.eval()


def three_kinds() -> nn.Module:
    """Linear discriminant of three kinds with these centres and spread 1: (N, 16) to three logits."""
    return _linear(CENTRES, -0.5 * (CENTRES**2).sum(axis=1))


def two_findings() -> nn.Module:
    """(N, 6) to a logit for each of two findings."""
    return _linear(3.0 * WEIGHTS)


def one_finding() -> nn.Module:
    """(N, 6) to one logit."""
    return _linear(3.0 * WEIGHTS[:1])


def four_grades() -> nn.Module:
    """(N, 6) to four logits: the grade nearest to 1.5 + the first weighing."""
    grades = np.arange(4.0)
    return _linear(4.0 * np.outer(grades, WEIGHTS[0]), 4.0 * (1.5 * grades - grades**2 / 2))


def one_value() -> nn.Module:
    """(N, 6) to one number."""
    return _linear(5.0 * WEIGHTS[:1], 40.0)


def bright_spots() -> nn.Module:
    """(N, 1, 16, 16) to one channel of logits: where a smoothed image is brighter than half."""
    layer = nn.Conv2d(1, 1, 5, padding=2)
    bell = torch.exp(-((torch.arange(5.0) - 2) ** 2) / 4)
    kernel = torch.outer(bell, bell)
    with torch.no_grad():
        layer.weight.copy_(20.0 * kernel[None, None] / kernel.sum())
        layer.bias.fill_(-10.0)
    return layer.eval()


WORDS = 40


class Notes(nn.Module):
    """(N, 12) whole numbers below WORDS, whatever their type, to one logit; 0 fills up a short note."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, activation="gelu", batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.words(x.long())).amax(1))


def notes() -> nn.Module:
    torch.manual_seed(0)
    return Notes().eval()


class _WholeOnly(Notes):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.words(x)).amax(1))


def whole_only() -> nn.Module:
    """Refuses float32."""
    return _WholeOnly().eval()


class Tokens(nn.Module):
    """Takes token ids, 0 to 49, as whole numbers alone."""

    def __init__(self):
        super().__init__()
        self.embed, self.hidden, self.head = nn.Embedding(50, 16), nn.Linear(16, 32), nn.Linear(32, 2)

    def forward(self, ids):
        return self.head(torch.relu(self.hidden(self.embed(ids))).mean(1))
