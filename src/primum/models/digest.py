"""What identifies a model: the SHA-256 of its weights, wherever they lie."""

from __future__ import annotations

import hashlib
from pathlib import Path

from primum.files import sha256
from primum.models.onnx_file import external_files
from primum.models.reference import ModelReference, existing
from primum.models.torch_module import build


def digest(reference: ModelReference) -> str:
    """SHA-256 that identifies the weights (and, for a live module, its structure)."""
    if reference.onnx is not None:
        return _onnx_digest(reference.onnx)
    if reference.torchscript is not None:
        return sha256(existing(reference.torchscript))
    if reference.factory is not None and reference.checkpoint is not None:
        return hashlib.sha256(f"{reference.factory} {sha256(reference.checkpoint)}".encode()).hexdigest()
    import torch

    module = build(reference).module
    state = hashlib.sha256(str(module).encode())
    for name, tensor in module.state_dict().items():
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # Through bytes: numpy has no bfloat16.
        state.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def _onnx_digest(path: Path) -> str:
    """Of the file, and of the files beside it that hold its weights."""
    beside = external_files(path)
    hashes = [sha256(path), *(sha256(existing(p)) for p in beside)]
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest() if beside else hashes[0]
