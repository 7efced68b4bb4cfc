"""Residual 1-D network for one heart beat, five logits out: the example's model, in plain torch."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions of five samples and a shortcut; (N, channels_in, T) becomes (N, channels_out, T/2)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels_in, channels_out, 5, stride=2, padding=2, bias=False)
        self.bn1 = nn.BatchNorm1d(channels_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv1d(channels_out, channels_out, 5, padding=2, bias=False)
        self.bn2 = nn.BatchNorm1d(channels_out)
        self.shortcut = nn.Conv1d(channels_in, channels_out, 1, stride=2, bias=False)
        self.relu2 = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Add the convolved features to the shortcut's."""
        inner = self.relu1(self.bn1(self.conv1(features)))
        return self.relu2(self.bn2(self.conv2(inner)) + self.shortcut(features))


class BeatNet(nn.Module):
    """Beats in millivolts and RR intervals in seconds, float32 (N, 3, 280), to logits of N, S, V, F, Q (N, 5).

    Each beat is set to mean 0 and (about) standard deviation 1 first: electrodes sit differently on every chest.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(1, 32, 15, stride=4, padding=7, bias=False), nn.BatchNorm1d(32), nn.ReLU())
        self.blocks = nn.Sequential(Block(32, 64), Block(64, 128), Block(128, 256))
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(256 + 3, 5)

    def forward(self, beats: Tensor) -> Tensor:
        """Return five logits per beat, whatever its baseline and gain."""
        wave, before, after = beats[:, :1], beats[:, 1, :1], beats[:, 2, :1]
        centred = wave - wave.mean(dim=2, keepdim=True)
        spread = (centred * centred).mean(dim=2, keepdim=True).sqrt()
        shape = self.dropout(self.blocks(self.stem(centred / (spread + 0.05))).mean(dim=2))
        # An early beat has a short interval before it and a long one after it.
        return self.head(torch.cat([shape, before, after, before / (after + 0.1)], dim=1))


def build() -> nn.Module:
    """Return the network with fresh weights."""
    torch.manual_seed(0)
    return BeatNet()
