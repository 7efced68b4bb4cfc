"""Multi-layer perceptron for one survey answer, one logit out: the example's model, in plain torch."""

import torch
from torch import nn

FEATURES = 50


def build() -> nn.Module:
    """Return the network with fresh weights: features as preprocessing.yaml makes them, float32 (N, 50), to (N, 1)."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(FEATURES, 512),
        nn.BatchNorm1d(512),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(512, 512),
        nn.BatchNorm1d(512),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(512, 256),
        nn.BatchNorm1d(256),
        nn.ReLU(),
        nn.Linear(256, 1),
    )
