"""TorchScript: traced, frozen, optimized for inference when loaded."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from primum.artifact.predictor import Proven, Session
from primum.errors import TrialError
from primum.models.torchscript import open_torchscript
from primum.runtimes.base import BuildSource, Target, cores
from primum.runtimes.eager import Eager, TorchSession

if TYPE_CHECKING:
    import torch

FILE = "model.ts"


class TorchScript(Eager):
    """The adapter."""

    name = "torchscript"
    precisions = ("fp32",)
    keeps_weights_only = False

    def build(self, source: BuildSource, target: Target, out: Path) -> tuple[str, ...]:
        """Trace (unless it is traced already) and freeze."""
        import torch

        if source.module is None:
            raise TrialError("an .onnx model cannot run in torch")
        example = torch.zeros(2, *source.signature.input_shape)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            traced = source.module
            if not isinstance(traced, torch.jit.ScriptModule):
                traced = torch.jit.trace(traced, example, check_trace=False)
            torch.jit.freeze(traced.eval()).save(str(out / FILE))
        return ()

    def open(self, folder: Path, target: Target, factory: Callable[[], torch.nn.Module] | None) -> Session:
        """Load into torch's own interpreter, which runs no Python from the file, and optimize for inference.

        Raises UnsafeInput where its code reaches files.
        """
        import torch

        torch.set_num_threads(target.threads or cores())
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            module = torch.jit.optimize_for_inference(open_torchscript(folder / FILE))
        return TorchSession(module, target, Proven("fp32", "cpu (torchscript)", torch.get_num_threads()))


ADAPTER = TorchScript()
