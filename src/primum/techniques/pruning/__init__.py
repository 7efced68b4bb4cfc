"""Pruning: weights set to zero, or channels removed. Importing the room registers its techniques; torch stays out."""

from primum.techniques.pruning.measured import LatencySearch, Point, PruneToLatency, prune_to_latency
from primum.techniques.pruning.structured import Importance, PruneChannels, prune_channels

__all__ = [
    "Importance",
    "LatencySearch",
    "Point",
    "PruneChannels",
    "PruneToLatency",
    "prune_channels",
    "prune_to_latency",
]
