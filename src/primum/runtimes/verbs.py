"""ONNX in one line: export a torch model, with an optimized copy beside it, and open a graph on what runs it best."""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from primum.errors import InputError, MissingExtra, TrialError
from primum.runtimes.attention import fuse_attention
from primum.runtimes.base import cores
from primum.runtimes.export import export_example
from primum.runtimes.facts import read_facts

if TYPE_CHECKING:
    import torch

_WANTED = ("CUDAExecutionProvider", "CPUExecutionProvider")
_AGREES = 1e-3
"""Largest difference that an exported or optimized graph may show, relative to the largest output."""


@dataclass(frozen=True)
class OnnxExport:
    """Files written, and what was done to them."""

    path: Path
    """The graph as exported, with constants folded."""
    optimized: Path
    """The same with operators fused: faster, and for ONNX Runtime alone."""
    notes: tuple[str, ...]


class OnnxSession(ort.InferenceSession):  # type: ignore[misc]
    """An ONNX Runtime session that knows what it runs on."""

    provider: str
    """The provider that really runs, for example CPUExecutionProvider."""


def export_to_onnx(model: torch.nn.Module, example_input: Any, output_path: str | Path) -> OnnxExport:
    """Export `model` and write an optimized copy beside it, `*_optimized.onnx`; both must give the model's numbers.

    `example_input`: a tensor (batch, ...), or a tuple of them; every first axis becomes free.
    Inputs are called "input" (several: "input_0", ...), the output "output". Raises InputError where the example is no
    tensor, TrialError where no exporter can, or where the numbers differ.
    """
    try:
        import onnx  # noqa: F401
        import torch
    except ImportError as error:
        raise MissingExtra("exporting to ONNX", "optimize") from error
    example = example_input if isinstance(example_input, tuple) else (example_input,)
    if not example or not all(isinstance(t, torch.Tensor) and t.ndim for t in example):
        raise InputError("example_input is a tensor with the batch first, or a tuple of such tensors")
    path = Path(output_path)
    if path.suffix != ".onnx":
        raise InputError(f"output_path ends in .onnx, not {path.name!r}")
    optimized = path.with_name(f"{path.stem}_optimized.onnx")
    model.eval()
    if len(example[0]) == 1:  # torch.export would take the batch for an axis of length 1
        example = tuple(torch.cat([t, t]) for t in example)
    notes = export_example(model, example, path)
    notes += tuple(note for note in _optimize(model, example, path, optimized) if note not in notes)
    # Another batch size shows whether the tracing exporter fixed the first axis.
    example = tuple(torch.cat([t, t]) for t in example)
    with torch.inference_mode():
        expected = model(*example)
    if not isinstance(expected, torch.Tensor):
        raise TrialError("the model gives more than one tensor: wrap it in a module that gives the one you need")
    for written in (path, optimized):
        _check(written, example, expected.float().numpy())
    return OnnxExport(path, optimized, notes)


def create_onnx_session(model_path: str | Path) -> OnnxSession:
    """Open a graph with all optimizations, on the GPU where ONNX Runtime has one, else on the CPU; see `.provider`.

    Raises InputError where there is no such file or it is no graph, TrialError where the provider asked for was not
    the one that came up.
    """
    path = Path(model_path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    available = ort.get_available_providers()
    providers = [name for name in _WANTED if name in available]
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = cores()
    options.log_severity_level = 3
    try:
        session = OnnxSession(str(path), sess_options=options, providers=providers)
    except _NOT_A_GRAPH as error:
        raise InputError(f"{path} is no ONNX graph that can run here: {str(error).splitlines()[0]}") from error
    session.disable_fallback()
    session.provider = session.get_providers()[0]
    if session.provider != providers[0]:
        raise TrialError(f"asked for {providers[0]}, ONNX Runtime runs {session.provider}")
    return session


_STATE = ort.capi.onnxruntime_pybind11_state
_NOT_A_GRAPH = (_STATE.Fail, _STATE.InvalidGraph, _STATE.InvalidProtobuf)
_REFUSED = (_STATE.InvalidArgument, _STATE.Fail, _STATE.RuntimeException)


def _optimize(
    model: torch.nn.Module, example: tuple[torch.Tensor, ...], path: Path, optimized: Path
) -> tuple[str, ...]:
    """Write the optimized copy: attention fused where there is any, else what ONNX Runtime fuses on every machine."""
    notes, fused = _fuse(model, example, optimized) if read_facts(path).attentions else ((), False)
    if fused:
        return notes
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(optimized)
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return notes


def _fuse(model: torch.nn.Module, example: tuple[torch.Tensor, ...], optimized: Path) -> tuple[tuple[str, ...], bool]:
    """Write the copy with fused attention, if there can be one, as studies do; returns notes, and whether it did."""
    from primum.models.attention import split_attention

    try:
        split, stays = split_attention(copy.deepcopy(model))
    # A module's own copying raises whatever it raises.
    except Exception as error:  # noqa: BLE001
        return (f"attention is not fused: the model cannot be copied ({type(error).__name__})",), False
    with tempfile.TemporaryDirectory() as folder:
        try:
            notes = stays + export_example(split, example, Path(folder) / "products.onnx", products=True)
            used, said = fuse_attention(Path(folder) / "products.onnx", optimized)
        except TrialError as error:
            return (f"attention is not fused: {error}",), False
    return (*notes, *said) if used == optimized else said, used == optimized


def _check(path: Path, example: tuple[torch.Tensor, ...], expected: np.ndarray[Any, Any]) -> None:
    session = create_onnx_session(path)
    feeds = {entry.name: t.numpy() for entry, t in zip(session.get_inputs(), example)}
    try:
        found = np.asarray(session.run(None, feeds)[0], dtype=np.float64)
    except _REFUSED as error:
        raise TrialError(f"{path.name} does not run on {len(expected)} cases: {str(error).splitlines()[0]}") from error
    gap = float(np.abs(found - expected).max()) / (float(np.abs(expected).max()) or 1.0)
    if not gap <= _AGREES:
        raise TrialError(f"{path.name} does not give the model's numbers: relative difference {gap:.3g}")
