"""ResNet-18 for one grey 128x128 chest X-ray, one logit out: the example's model, in plain torch."""

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Features (N, channels_in, H, W) become (N, channels_out, H/stride, W/stride).
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, features: Tensor) -> Tensor:
        """Add the convolved features to the shortcut's."""
        inner = self.relu1(self.bn1(self.conv1(features)))
        return self.relu2(self.bn2(self.conv2(inner)) + self.shortcut(features))


class ResNet18(nn.Module):
    """Preprocessed images, float32 (N, 1, 128, 128), to pneumonia logits (N, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stages = nn.Sequential(
            _stage(64, 64, stride=1),
            _stage(64, 128, stride=2),
            _stage(128, 256, stride=2),
            _stage(256, 512, stride=2),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(512, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return one logit per image; above 0 says pneumonia."""
        return self.head(torch.flatten(self.pool(self.stages(self.stem(images))), 1))


def _stage(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(channels_in, channels_out, stride), BasicBlock(channels_out, channels_out, stride=1)
    )


def build() -> nn.Module:
    """Return the network with fresh weights, initialised as in the ResNet paper."""
    network = ResNet18()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
