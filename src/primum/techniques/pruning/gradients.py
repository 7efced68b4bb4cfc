"""Gradients of the task's loss on training cases, for importance by Taylor expansion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from primum.techniques.context import Context

if TYPE_CHECKING:
    import torch

_CASES = 1024
_BATCH = 32


def accumulate(model: torch.nn.Module, context: Context) -> None:
    """Lay the loss's gradients, summed over at most 1024 training cases drawn by the seed, on the weights of `model`.

    Raises InputError without training data or a signature.
    """
    import torch

    from primum.techniques.training.losses import task_loss

    train, signature = context.need_train("pruning by Taylor expansion"), context.need_signature("pruning")
    loss = task_loss(signature, train.labels)
    order = np.random.default_rng(context.seed).permutation(len(train))[:_CASES]
    where = next(model.parameters())
    for parameter in model.parameters():
        parameter.requires_grad_(True)
        parameter.grad = None
    with torch.enable_grad():
        for start in range(0, len(order), _BATCH):
            rows = np.sort(order[start : start + _BATCH])
            inputs = torch.as_tensor(np.asarray(train.inputs[rows])).to(where.device, where.dtype)
            labels = torch.as_tensor(np.asarray(train.labels[rows])).to(where.device)
            (loss(model(inputs), labels) * len(rows)).backward()
