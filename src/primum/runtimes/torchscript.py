"""TorchScript: traced, frozen, optimized for inference when loaded."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from primum.artifact.predictor import ONE_BY_ONE, Proven, Session
from primum.errors import TrialError
from primum.models.torchscript import constants, open_torchscript
from primum.runtimes.base import BuildSource, Target, cores
from primum.runtimes.eager import Eager, TorchSession

if TYPE_CHECKING:
    import torch

FILE = "model.ts"
_FLOATS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
PROVIDER = "cpu (torchscript)"
NOTES = {
    "Int8Tensor": "weights are INT8 in the file alone: loading unfolds them, so memory and speed are those of FP32",
    "Int4OpaqueTensor": "4-bit weights are packed for CPUs of this kind: on another, answers would be wrong",
}
"""What to know of weights that torchao packed, by its name for them."""


class TorchScript(Eager):
    """The adapter."""

    name = "torchscript"
    precisions = ("fp32",)
    keeps_weights_only = False

    def build(self, source: BuildSource, target: Target, out: Path) -> tuple[str, ...]:
        """Trace (unless it is traced already) and freeze, but for weights that freezing would unfold."""
        import torch

        from primum.runtimes.packed import INT8, packed

        if source.module is None:
            raise TrialError("an .onnx model cannot run in torch")
        example = torch.zeros(2, *source.signature.input_shape)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            traced: torch.nn.Module = source.module
            kinds: tuple[str, ...] = ()
            if not isinstance(traced, torch.jit.ScriptModule):
                traced, kinds = packed(traced)
                traced = torch.jit.trace(traced, example, check_trace=False)
            # Freezing computes what hangs on constants alone: INT8 weights would go into the file as floats.
            (traced.eval() if INT8 in kinds else torch.jit.freeze(traced.eval())).save(str(out / FILE))
        return tuple(NOTES[kind] for kind in kinds)

    def open(self, folder: Path, target: Target, factory: Callable[[], torch.nn.Module] | None) -> Session:
        """Load into torch's own interpreter, which runs no Python from the file, and optimize for inference.

        Raises UnsafeInput where its code reaches files.
        """
        import torch

        torch.set_num_threads(target.threads or cores())
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            loaded = open_torchscript(folder / FILE)
            kinds = _kinds(loaded)
            module = torch.jit.optimize_for_inference(loaded)
        ranged = any("dynamic" in kind for kind in kinds)
        notes = (ONE_BY_ONE,) if ranged else ()
        proven = Proven(_precision(kinds, loaded), PROVIDER, torch.get_num_threads(), notes)
        session = TorchSession(module, target, proven)
        session.batch_invariant = not ranged
        return session


def _kinds(module: torch.jit.ScriptModule) -> set[str]:
    """Operators of quantized arithmetic in the code."""
    found = {str(node.kind()) for node in module.inlined_graph.nodes()}
    return {kind for kind in found if kind.startswith("quantized::") or "_weight_int" in kind}


def _precision(kinds: set[str], module: torch.jit.ScriptModule) -> str:
    """What it computes in, as the file says: operators first, then the dtypes of the weights."""
    held = [t for t in (*constants(module), *module.parameters(), *module.buffers()) if t.ndim > 1]
    names = {str(t.dtype).removeprefix("torch.") for t in held}
    computed = {"int4-weights" if "_weight_int4" in k else "int8-dynamic" if "dynamic" in k else "int8" for k in kinds}
    floats = {name: short for name, short in _FLOATS.items() if name in names}
    said = "+".join(sorted({*floats.values(), *computed})) or "fp32"
    return f"{said} (weights stored in int8)" if "int8" in names else said


ADAPTER = TorchScript()
