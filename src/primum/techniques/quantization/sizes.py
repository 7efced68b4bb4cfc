"""Bytes that a module's weights take when they are stored."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from primum.techniques.quantization.quiet import known_warnings_silenced

if TYPE_CHECKING:
    import torch


class _Counter(io.RawIOBase):
    """Counts what is written and keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        size = len(memoryview(data).cast("B"))
        self.count += size
        return size


def stored_bytes(model: torch.nn.Module) -> int:
    """Bytes of the file that `torch.save(model.state_dict())` would write; packed weights are counted as packed."""
    import torch

    counter = _Counter()
    with known_warnings_silenced():
        torch.save(model.state_dict(), counter)
    return counter.count


def parameters_of(model: torch.nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())
