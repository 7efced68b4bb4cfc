"""Device and arithmetic of training: 16 bits only where the device has them, and always reported."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from primum.errors import InputError
from primum.hardware.machine import this_machine
from primum.task import Task

if TYPE_CHECKING:
    import torch

_SMALL = 100_000
"""Networks with fewer weights gain nothing from 16 bits on a CPU."""


@dataclass(frozen=True)
class Precision:
    """Where training computes, and in what."""

    device: str
    name: Literal["fp32", "bf16", "fp16"]
    note: str | None = None
    """Why it is not what was asked."""

    def autocast(self) -> AbstractContextManager[None]:
        """Context in which forward passes run."""
        import torch

        if self.name == "fp32":
            return nullcontext()
        kind = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(self.device, kind)  # type: ignore[no-any-return]

    @property
    def scaled(self) -> bool:
        """Whether gradients are scaled: float16 alone loses the small ones."""
        return self.name == "fp16"


def choose_device(asked: str) -> str:
    """ "cpu" or "cuda". Raises InputError where CUDA is asked for and absent."""
    import torch

    present = torch.cuda.is_available()
    if asked == "cuda" and not present:
        raise InputError("device cuda: torch finds no CUDA device here; give device auto or cpu")
    return "cuda" if present and asked != "cpu" else "cpu"


def choose_precision(asked: str, device: str, model: torch.nn.Module, task: Task | None) -> Precision:
    """The arithmetic for `model` on `device`; falls back to fp32, with a note, where the device has no other."""
    possible = _possible(device)
    if asked == "auto":
        small = device == "cpu" and sum(p.numel() for p in model.parameters()) < _SMALL
        # bfloat16 keeps three digits: too few for a value in clinical units.
        wanted = "fp32" if small or task is Task.REGRESSION or not possible else possible[0]
        return Precision(device, wanted)
    if asked == "fp32":
        return Precision(device, "fp32")
    for name in possible:
        if name == asked:
            return Precision(device, name)
    return Precision(device, "fp32", f"{asked} was asked for; this {device} does not train in it: fp32 was used")


def _possible(device: str) -> tuple[Literal["bf16", "fp16"], ...]:
    import torch

    if device == "cuda":
        return ("bf16", "fp16") if torch.cuda.is_bf16_supported(including_emulation=False) else ("fp16",)
    return ("bf16",) if "bf16" in this_machine().features else ()
