"""torch.compile with frozen weights. Kept as weights, like eager; compiled when first called."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from primum.artifact.predictor import Session
from primum.runtimes.base import BuildSource, Target
from primum.runtimes.eager import Eager, TorchSession, open_module, prove, save_weights

if TYPE_CHECKING:
    import torch


class Inductor(Eager):
    """The adapter."""

    name = "inductor"

    def missing(self) -> str | None:
        """Torch is an extra; inductor needs a C++ compiler besides."""
        if not importlib.util.find_spec("torch"):
            return "pip install 'primum[optimize]'"
        return None if shutil.which("g++") or shutil.which("clang++") else "torch.compile needs a C++ compiler (g++)"

    def build(self, source: BuildSource, target: Target, out: Path) -> tuple[str, ...]:
        """Save the weights."""
        save_weights(source, out)
        return ("compiled again wherever it is loaded",)

    def open(self, folder: Path, target: Target, factory: Callable[[], torch.nn.Module] | None) -> Session:
        """Build the network anew, load the weights and compile in the target's mode."""
        import torch
        import torch._inductor.config

        module = open_module(folder, target, factory)
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        torch._inductor.config.freezing = True
        return TorchSession(torch.compile(module, mode=target.mode), target, prove(module, target, "inductor"))


ADAPTER = Inductor()
