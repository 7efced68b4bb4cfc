"""What training keeps on disk to go on after a kill: written whole to another name, then renamed."""

from __future__ import annotations

import hashlib
import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from primum.files import storage
from primum.techniques.context import TrainingData
from primum.techniques.training.config import TrainingConfig

if TYPE_CHECKING:
    import torch

VERSION = 1
EVERY_SECONDS = 20.0
"""No more often than this, but at the end always: a kill costs this and one epoch."""


def checkpoint_path(
    work: Path, name: str, key: str, model: torch.nn.Module, data: TrainingData, config: TrainingConfig, seed: int
) -> Path:
    """A file of this very training: another config, seed, data set or start of weights has another."""
    found = hashlib.sha256(f"{VERSION}|{name}|{key}|{seed}|{config!r}|{data.inputs.shape}".encode())
    found.update("\0".join(map(str, data.units)).encode())
    found.update(np.ascontiguousarray(data.labels).tobytes())
    found.update(np.ascontiguousarray(data.inputs[:: max(1, len(data) // 8)]).tobytes())
    found.update(digest(model).encode())
    return work / f"{name}-{found.hexdigest()[:16]}.pt"


def digest(model: torch.nn.Module) -> str:
    """SHA-256 of a model's names, shapes and values."""
    import torch

    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        found.update(f"{name}|{value.dtype}|{tuple(value.shape)}".encode())
        if value.numel():
            found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) whole or not at all. Raises StorageError."""
    import torch

    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with storage(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def read(path: Path, device: str) -> tuple[dict[str, Any] | None, str | None]:
    """The saved state, or None; and a note where a file is there that cannot be used. Runs no code from the file."""
    import torch

    if not path.is_file():
        return None, None
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        return None, f"the checkpoint {path.name} cannot be read ({type(error).__name__}): training started anew"
    if not isinstance(state, dict) or state.get("version") != VERSION:
        return None, f"the checkpoint {path.name} is of another version: training started anew"
    return state, None
