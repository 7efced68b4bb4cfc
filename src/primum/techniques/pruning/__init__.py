"""Pruning: weights set to zero, or channels removed. Importing the room registers its techniques; torch stays out."""

from primum.config import PruningMethod
from primum.techniques.pruning.gradual import PruneGradually, PruneWhileTraining, prune_gradually, schedule
from primum.techniques.pruning.info import LayerInfo, PruningInfo, compare
from primum.techniques.pruning.measured import LatencySearch, Point, PruneToLatency, prune_to_latency
from primum.techniques.pruning.methods import Pruned, prune_by
from primum.techniques.pruning.pruner import ModelPruner, PruningConfig
from primum.techniques.pruning.remove import LayerChange, Removal, Unpruned
from primum.techniques.pruning.semi_structured import PruneNOfM, prune_n_of_m
from primum.techniques.pruning.structured import Importance, PruneChannels, prune_channels
from primum.techniques.pruning.unstructured import PruneWeights, Sparse, prune_weights
from primum.techniques.pruning.verbs import prune_model, structured_pruning

__all__ = [
    "Importance",
    "LatencySearch",
    "LayerChange",
    "LayerInfo",
    "ModelPruner",
    "Point",
    "PruneChannels",
    "PruneGradually",
    "PruneNOfM",
    "PruneToLatency",
    "PruneWeights",
    "PruneWhileTraining",
    "Pruned",
    "PruningConfig",
    "PruningInfo",
    "PruningMethod",
    "Removal",
    "Sparse",
    "Unpruned",
    "compare",
    "prune_by",
    "prune_channels",
    "prune_gradually",
    "prune_model",
    "prune_n_of_m",
    "prune_to_latency",
    "prune_weights",
    "schedule",
    "structured_pruning",
]
