"""From a torch module to an ONNX file with a free batch axis: the one lossless export that other runtimes build on."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from primum.errors import MissingExtra, TrialError
from primum.files import write_bytes

if TYPE_CHECKING:
    import torch

OPSET = 18


def export_onnx(module: torch.nn.Module, input_shape: tuple[int, ...], path: Path) -> tuple[str, ...]:
    """Export `module` for float32 (batch, *input_shape), input "input", output "output"; returns notes.

    torch.export first; where it fails, the tracing exporter, and a note says so. Raises TrialError where both fail.
    """
    try:
        import onnx  # noqa: F401
        import torch
    except ImportError as error:
        raise MissingExtra("exporting to ONNX", "optimize") from error
    example = torch.zeros(2, *input_shape)
    notes: tuple[str, ...] = ()
    silent = io.StringIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                optimize=True,
                verbose=False,
            )
            model = program.model_proto
        # The exporter raises whatever the traced code raises.
        except Exception as error:  # noqa: BLE001
            notes = (f"torch.export could not export this model ({type(error).__name__}); the tracing exporter did",)
            model = _trace_export(module, example)
    # Shapes that the exporter recorded for inner values go stale when the graph is quantized.
    del model.graph.value_info[:]
    write_bytes(path, model.SerializeToString())
    return notes


def _trace_export(module: torch.nn.Module, example: torch.Tensor) -> onnx.ModelProto:  # type: ignore[name-defined]  # noqa: F821
    import onnx
    import torch

    buffer = io.BytesIO()
    try:
        torch.onnx.export(
            module,
            (example,),
            buffer,
            dynamo=False,
            opset_version=17,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
        )
    except Exception as error:
        raise TrialError(f"the model cannot be exported to ONNX: {str(error).splitlines()[0]}") from error
    return onnx.load_from_string(buffer.getvalue())
