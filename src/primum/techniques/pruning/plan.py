"""Which channels go: arithmetic only, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, gcd

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ChannelSet:
    """Output channels that several layers share, so that they go together.

    `name` is the layer that gives them, `channels` their number; where `blocks` > 1 (grouped convolution, GroupNorm)
    the same places must go in each of that many equal blocks.
    """

    name: str
    layers: tuple[str, ...]
    channels: int
    blocks: int = 1
    obstacle: str | None = None
    """Why none of them can go."""
    output: bool = False
    """They are the network's output."""


@dataclass(frozen=True)
class Cut:
    """Channels of one set to remove; `rounding` is the multiple that the channels left are rounded up to."""

    idxs: tuple[int, ...]
    rounding: int


def cut(channels: ChannelSet, score: NDArray[np.float64], share: float, round_to: int) -> Cut | None:
    """The least important channels, at most `share` of them; None where not one can go.

    What is left is rounded up to a multiple of `round_to`, or of half of it and so on down to 1, where more would leave
    all channels in place.
    """
    size = channels.channels // channels.blocks
    goal = max(size * (1.0 - share), 1.0)
    worth = np.asarray(score, np.float64).reshape(channels.blocks, size).mean(axis=0)
    rounding = round_to
    while rounding >= 1:
        unit = rounding // gcd(rounding, channels.blocks)
        keep = unit * ceil(goal / unit - 1e-9)
        if keep < size:
            gone = np.sort(np.argsort(worth, kind="stable")[: size - keep])
            return Cut(tuple(int(b * size + i) for b in range(channels.blocks) for i in gone), rounding)
        rounding //= 2
    return None


def shares(
    sets: tuple[ChannelSet, ...],
    scores: Mapping[str, NDArray[np.float64]],
    ratio: float,
    limit: float,
    uniform: bool,
) -> dict[str, float]:
    """The share of channels to remove from each set.

    `ratio` of each, or (`uniform` false) of all channels taken together, the least important first wherever they
    are, at most `limit` of one set. Scores are compared after division by their mean in the set, as weights of
    different layers have different scales.
    """
    if uniform or not sets:
        return {s.name: ratio for s in sets}
    relative = {}
    for s in sets:
        worth = np.asarray(scores[s.name], np.float64).reshape(s.blocks, -1).mean(axis=0).repeat(s.blocks)
        relative[s.name] = worth / worth.mean() if worth.mean() > 0 else np.zeros_like(worth)
    everything = np.sort(np.concatenate(list(relative.values())))
    wanted = round(ratio * len(everything))
    threshold = everything[wanted - 1] if wanted else -np.inf
    return {name: min(limit, float((worth <= threshold).mean())) for name, worth in relative.items()}
