"""PyTorch eager: the original as it stands. Kept as weights; loading calls the user's own factory again.

What came as TorchScript is kept whole, and runs unchanged.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from primum.artifact.predictor import Proven, Session
from primum.errors import InputError, TrialError
from primum.hardware.machine import installed
from primum.models.torchscript import constants, open_torchscript
from primum.runtimes.base import BuildSource, Target, cores

if TYPE_CHECKING:
    import torch

WEIGHTS, SCRIPT = "weights.safetensors", "model.ts"


class TorchSession:
    """A torch callable as a session; inputs are converted to the target's dtype and layout on the way in."""

    batch_invariant = True

    def __init__(self, call: Callable[[torch.Tensor], torch.Tensor], target: Target, proven: Proven) -> None:
        import torch

        self._call, self.proven = call, proven
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[target.precision]
        self._layout = torch.channels_last if target.channels_last else torch.contiguous_format
        self._channels_last = target.channels_last

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (N, *input_shape) to float32 (N, outputs)."""
        import torch

        with torch.inference_mode():
            # A copy: a network that changes its input in place would change what the original is asked after it.
            tensor = torch.from_numpy(np.array(batch, order="C")).to(self._dtype)
            if self._channels_last and tensor.ndim == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            out = self._call(tensor)
            return out.float().reshape(len(batch), -1).numpy().copy()  # type: ignore[no-any-return]

    def close(self) -> None:
        """Drop the module."""
        self._call = _closed


def _closed(_: torch.Tensor) -> torch.Tensor:
    raise TrialError("this session is closed")


class Eager:
    """The adapter."""

    name = "torch"
    precisions: tuple[str, ...] = ("fp32", "bf16")
    needs_onnx = False
    keeps_weights_only = True

    def missing(self) -> str | None:
        """Torch is an extra."""
        return None if importlib.util.find_spec("torch") else "pip install 'primum[optimize]'"

    def version(self) -> str:
        """Version of torch."""
        return installed("torch") or ""

    def build(self, source: BuildSource, target: Target, out: Path) -> tuple[str, ...]:
        """Save the weights."""
        save_weights(source, out)
        return ()

    def open(self, folder: Path, target: Target, factory: Callable[[], torch.nn.Module] | None) -> Session:
        """Build the network anew and load the weights into it."""
        module = open_module(folder, target, factory)
        return TorchSession(module, target, prove(module, target, "eager"))


def save_weights(source: BuildSource, out: Path) -> None:
    """Write the module's weights as safetensors; TorchScript as it is."""
    import torch
    from safetensors.torch import save_model

    if source.module is None:
        raise TrialError("an .onnx model cannot run in torch")
    if isinstance(source.module, torch.jit.ScriptModule):
        source.module.save(str(out / SCRIPT))
    else:
        save_model(source.module, str(out / WEIGHTS))


def open_module(folder: Path, target: Target, factory: Callable[[], torch.nn.Module] | None) -> torch.nn.Module:
    """The network with the saved weights, in the target's dtype and layout. Raises InputError without a factory."""
    import torch

    torch.set_num_threads(target.threads or cores())
    module = _built(folder, target, factory)
    if target.precision == "bf16":
        module = module.to(torch.bfloat16)
    if target.channels_last:
        module = module.to(memory_format=torch.channels_last)
    return module


def _built(folder: Path, target: Target, factory: Callable[[], torch.nn.Module] | None) -> torch.nn.Module:
    from safetensors.torch import load_model

    if (folder / SCRIPT).is_file():
        return open_torchscript(folder / SCRIPT)
    if factory is None:
        raise InputError(
            f"{target.runtime} artifacts hold weights only: give the function that builds the network, "
            "primum.load(path, factory=build)"
        )
    module = factory().eval()
    load_model(module, str(folder / WEIGHTS))
    return module


def prove(module: torch.nn.Module, target: Target, how: str) -> Proven:
    """Read back dtype and threads."""
    import torch

    held = [*module.parameters()]
    if isinstance(module, torch.jit.ScriptModule):
        held += [t for t in constants(module) if t.is_floating_point() or t.is_quantized]
    dtypes = {str(t.dtype).removeprefix("torch.") for t in held}
    names = {"float32": "fp32", "bfloat16": "bf16"}
    precision = "+".join(sorted(names.get(d, d) for d in dtypes)) or target.precision
    return Proven(precision, f"cpu ({how})", torch.get_num_threads())


ADAPTER = Eager()
