"""Small networks that tests name as `nets:build` and so on, as a user names a factory."""

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
