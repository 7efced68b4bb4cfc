"""Opening an .onnx file that a stranger made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import onnxruntime as ort

from primum.errors import InputError, UnsafeInput


@dataclass(frozen=True)
class OnnxFacts:
    """Names and shapes of the one input and the first output; a free axis is None."""

    input_name: str
    input_shape: tuple[int | None, ...]
    output_name: str


def check_onnx(path: Path) -> OnnxFacts:
    """Check that external data stay inside the model's folder, that the graph loads, and that it has one float input.

    Raises UnsafeInput or InputError.
    """
    _check_external_data(path)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # ONNX Runtime's own exceptions share no public base class.
    except Exception as error:
        raise InputError(f"{path}: not an ONNX model that can be read ({str(error).splitlines()[0]})") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)":
        raise InputError(f"{path}: expected one float32 input, found {[(i.name, i.type) for i in inputs]}")
    shape = tuple(d if isinstance(d, int) else None for d in inputs[0].shape)
    return OnnxFacts(inputs[0].name, shape, session.get_outputs()[0].name)


def _check_external_data(path: Path) -> None:
    try:
        import onnx
    except ImportError:
        # Without the onnx library the locations cannot be listed; ONNX Runtime itself refuses to leave the folder.
        return
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise InputError(f"{path}: not an ONNX model that can be read") from error
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            location = PurePosixPath(entry.value.replace("\\", "/"))
            if entry.key == "location" and (location.is_absolute() or ".." in location.parts):
                raise UnsafeInput(f"{path}: its weights lie outside its folder; they were not read")
