"""The model that came in, looked at: what it takes and gives, its weights, a forward pass, its lossless export."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from primum.config import ResolvedConfig
from primum.data.evaluation import Materialized
from primum.data.preprocessing_any import AnyPreprocessing
from primum.data.split import Split
from primum.errors import InputError, TrialError
from primum.files import size_of
from primum.models.digest import digest
from primum.models.onnx_file import check_onnx
from primum.models.probe import Probe, probe, whole_numbers
from primum.models.signature import Activation, infer_signature
from primum.models.torch_module import build
from primum.models.torchscript import constants, input_channels
from primum.progress import Progress
from primum.runtimes.isolated import Isolated
from primum.study.original import Original
from primum.task import Task
from primum.workflows.request import OptimizeRequest

if TYPE_CHECKING:
    import torch


CHECKED_CASES = 64


def inspect(
    request: OptimizeRequest,
) -> tuple[tuple[int | None, ...] | None, int, int, tuple[str, ...]]:
    """Input shape without the batch (None: unknown), bytes and number of weights, notes."""
    if request.model.onnx is not None:
        facts = check_onnx(request.model.onnx)
        import onnx

        graph = onnx.load(request.model.onnx).graph
        numbers = sum(int(np.prod(t.dims)) for t in graph.initializer)
        return facts.input_shape[1:], size_of(request.model.onnx), numbers, ()
    import torch

    built = build(request.model)
    if isinstance(built.module, torch.jit.ScriptModule):
        return _inspect_script(built.module)
    tensors = [*built.module.parameters(), *built.module.buffers()]
    first = next((m for m in built.module.modules() if isinstance(m, torch.nn.Conv2d)), None)
    shape = (first.in_channels, None, None) if first is not None else None
    parameters = sum(p.numel() for p in built.module.parameters())
    weight_bytes = sum(t.numel() * t.element_size() for t in tensors)
    return shape, weight_bytes, parameters, built.notes


def _inspect_script(
    module: torch.jit.ScriptModule,
) -> tuple[tuple[int | None, ...] | None, int, int, tuple[str, ...]]:
    """Of a frozen module the weights are constants of its code."""
    frozen = [t for t in constants(module) if t.is_floating_point()]
    tensors = [*module.parameters(), *module.buffers(), *frozen]
    channels = input_channels(module)
    parameters = sum(t.numel() for t in [*module.parameters(), *frozen])
    weight_bytes = sum(t.numel() * t.element_size() for t in tensors)
    return (channels, None, None) if channels else None, weight_bytes, parameters, ()


def examine(
    request: OptimizeRequest,
    resolved: ResolvedConfig,
    data: Materialized,
    parts: Split,
    preprocessing: AnyPreprocessing,
    work: Path,
    progress: Progress,
) -> tuple[Original, NDArray[np.float32]]:
    """The original with its signature and export, and its raw outputs on a few cases (n, outputs)."""
    progress.stage("Checking the model")
    few = np.asarray(data.inputs[np.concatenate([parts.calibration, parts.selection])[:CHECKED_CASES]])
    raw = forward(request, few)
    found, task = data.cases.classes, data.cases.task
    probed = _probe(request, few, task)
    signature = infer_signature(
        raw, few.shape[1:], found, request.positive_class, request.activation, probed.outputs, task
    )
    onnx, notes = _export(request, few.shape[1:], work)
    notes = (*probed.notes, *notes)
    policy = resolved.policy
    original = Original(request.model, digest(request.model), signature, preprocessing, policy.threshold, onnx, notes)
    return original, raw


def _probe(request: OptimizeRequest, few: NDArray[np.float32], task: Task) -> Probe:
    """Outputs on inputs unlike the data, where what the outputs are must be told from them, or held against what the
    user says."""
    if task is Task.REGRESSION or request.activation in (Activation.SIGMOID, Activation.SOFTMAX):
        return Probe(None)
    found = probe(functools.partial(forward, request), few)
    return found if request.activation is None else Probe(found.outputs)


def forward(request: OptimizeRequest, few: NDArray[np.float32]) -> NDArray[np.float32]:
    """One forward pass of the original on a few cases; InputError where it cannot take them."""
    if request.model.onnx is not None:
        import onnxruntime as ort

        session = ort.InferenceSession(str(request.model.onnx), providers=["CPUExecutionProvider"])
        try:
            outputs = [session.run(None, {session.get_inputs()[0].name: few[i : i + 1]})[0] for i in range(len(few))]
        # ONNX Runtime's own exceptions share no public base class.
        except Exception as error:
            raise InputError(_not_taken(few, error)) from error
        return np.concatenate([np.asarray(o, np.float32) for o in outputs])
    import torch

    module = build(request.model).module
    try:
        with torch.inference_mode():
            # A copy: what a module does to its input in place stays out of the later looks at `few`.
            out = module(torch.from_numpy(few.copy()))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if _takes_whole_numbers(module, few):
            raise InputError(
                "the model takes whole numbers of type int64 alone, but every runtime hands float32 on: wrap it in a "
                "module whose forward calls .long() on its input, and give that (up to 16,777,216 nothing is rounded)"
            ) from error
        raise InputError(_not_taken(few, error)) from error
    if not isinstance(out, torch.Tensor):
        raise InputError(f"the model gives {type(out).__name__}, not one tensor; wrap it so that it gives its logits")
    if not out.ndim or len(out) != len(few):
        raise InputError(f"the model gives an output of shape {tuple(out.shape)} for {len(few)} cases")
    return np.asarray(out.float().numpy()).reshape(len(few), *(out.shape[1:] or (1,)))


def _not_taken(few: NDArray[np.float32], error: Exception) -> str:
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return (
        f"the model does not take inputs of shape {few.shape[1:]} with values from {few.min():g} to {few.max():g}: "
        f"{first}"
    )


def _takes_whole_numbers(module: torch.nn.Module, few: NDArray[np.float32]) -> bool:
    """Whether the same inputs as int64 are taken."""
    import torch

    if not whole_numbers(few).all():
        return False
    try:
        with torch.inference_mode():
            module(torch.from_numpy(few).long())
    except (RuntimeError, TypeError, ValueError, IndexError):
        return False
    return True


def _export(request: OptimizeRequest, shape: tuple[int, ...], work: Path) -> tuple[Path | None, tuple[str, ...]]:
    """The lossless ONNX export that runtimes build on; a failure is a note, and those trials say so."""
    if request.model.onnx is not None:
        return request.model.onnx.resolve(), ()
    path = work / "export.onnx"
    try:
        # In a process of its own: a failing exporter prints the whole graph, past Python, on stdout.
        with Isolated(request.trial_timeout_s) as process:
            call = "primum.study.original:export_original"
            return path, process.call(call, reference=request.model, input_shape=shape, path=path)
    except TrialError as error:
        return None, (str(error),)
