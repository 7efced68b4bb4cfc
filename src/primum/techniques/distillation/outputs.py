"""Calling a model with a batch as loaders give it, and finding the logits in what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError

if TYPE_CHECKING:
    import torch

_AT_ONCE = 256


def call(model: torch.nn.Module, batch: Any, device: torch.device) -> torch.Tensor:
    """The logits of `model` for a tensor, a tuple of tensors or a mapping of keyword arguments.

    It is given copies: it may change them in place, and another is asked the same.

    Raises InputError where a model of Hugging Face style returns hidden states and no logits.
    """
    import torch

    if isinstance(batch, Mapping):
        found = model(**{k: v.to(device, copy=True) if isinstance(v, torch.Tensor) else v for k, v in batch.items()})
    elif isinstance(batch, (tuple, list)):
        found = model(*(torch.as_tensor(x).to(device, copy=True) for x in batch))
    else:
        found = model(torch.as_tensor(batch).to(device, copy=True))
    return _logits(found, type(model).__name__)


def _logits(found: Any, name: str) -> torch.Tensor:
    import torch

    if isinstance(found, torch.Tensor):
        return found
    values = dict(found) if isinstance(found, Mapping) else vars(found) if hasattr(found, "__dict__") else {}
    logits = values.get("logits", getattr(found, "logits", None))
    if isinstance(logits, torch.Tensor):
        return logits
    if isinstance(found, (tuple, list)) and found and isinstance(found[0], torch.Tensor):
        return found[0]
    hidden = " but hidden states: take the class with a head, such as AutoModelForSequenceClassification"
    raise InputError(f"{name} returns no logits{hidden if 'last_hidden_state' in values else ''}")


def device_of(model: torch.nn.Module) -> torch.device:
    """Where a model's weights are; the CPU where it has none."""
    import torch

    return next((p.device for p in model.parameters()), torch.device("cpu"))


def outputs_of(model: torch.nn.Module, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Raw outputs (N, outputs, *spatial) in evaluation mode; the mode is put back."""
    import torch

    was, place = model.training, device_of(model)
    try:
        model.eval()
        with torch.no_grad():
            parts = [call(model, x, place).float().cpu() for x in torch.from_numpy(inputs).split(64)]
    finally:
        model.train(was)
    return np.asarray(torch.cat(parts).numpy())


def outputs_in_parts(model: torch.nn.Module, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """`outputs_of` for inputs that may be on the disk: a part at a time is read."""
    parts = (inputs[at : at + _AT_ONCE] for at in range(0, len(inputs), _AT_ONCE))
    return np.concatenate([outputs_of(model, np.asarray(part, dtype=np.float32)) for part in parts])
