"""From a torch module to an ONNX file with a free batch axis: the one lossless export that other runtimes build on."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primum.errors import MissingExtra, TrialError
from primum.files import write_bytes
from primum.runtimes.products import as_products

if TYPE_CHECKING:
    import onnx
    import torch

OPSET = 18
_SCRIPTED = "exported by the tracing exporter: torch.export needs Python code, which TorchScript has not"


def export_onnx(
    module: torch.nn.Module, input_shape: tuple[int, ...], path: Path, products: bool = False
) -> tuple[str, ...]:
    """Export `module` for float32 (batch, *input_shape), input "input", output "output"; returns notes.

    `products`: torch's scaled_dot_product_attention as the matrix products that it stands for, which ONNX Runtime can
    fuse. torch.export first; where it fails, and for TorchScript, the tracing exporter, and a note says so. Raises
    TrialError where both fail.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtra("exporting to ONNX", "optimize") from error
    return export_example(module, (torch.zeros(2, *input_shape),), path, products)


def export_example(
    module: torch.nn.Module, example: tuple[torch.Tensor, ...], path: Path, products: bool = False
) -> tuple[str, ...]:
    """As `export_onnx`, for inputs like those of `example`, all with the batch first: several are "input_0", ..."""
    try:
        import onnx  # noqa: F401
        import torch
    except ImportError as error:
        raise MissingExtra("exporting to ONNX", "optimize") from error
    notes: tuple[str, ...] = ()
    silent = io.StringIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    written = as_products() if products else contextlib.nullcontext()
    with warnings.catch_warnings(), contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent), written:
        warnings.simplefilter("ignore")
        if isinstance(module, torch.jit.ScriptModule):
            notes, model = (_SCRIPTED,), _trace_export(module, example)
        else:
            try:
                model = _export(module, example)
            # The exporter raises whatever the traced code raises.
            except Exception as error:  # noqa: BLE001
                name = type(error).__name__
                notes = (f"torch.export could not export this model ({name}); the tracing exporter did",)
                model = _trace_export(module, example)
    # Shapes that the exporter recorded for inner values go stale when the graph is quantized.
    del model.graph.value_info[:]
    write_bytes(path, model.SerializeToString())
    return notes


def _names(example: tuple[torch.Tensor, ...]) -> list[str]:
    return ["input"] if len(example) == 1 else [f"input_{i}" for i in range(len(example))]


def _export(module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> onnx.ModelProto:
    import torch

    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        module,
        example,
        dynamo=True,
        opset_version=OPSET,
        input_names=_names(example),
        output_names=["output"],
        dynamic_shapes=tuple({0: batch} for _ in example),
        optimize=True,
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _trace_export(module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> onnx.ModelProto:
    import onnx
    import torch

    buffer, names = io.BytesIO(), _names(example)
    try:
        with _narrow_ranges():
            torch.onnx.export(
                module,
                example,
                buffer,
                dynamo=False,
                opset_version=17,
                input_names=names,
                output_names=["output"],
                dynamic_axes={name: {0: "batch"} for name in [*names, "output"]},
            )
    except Exception as error:
        raise TrialError(f"the model cannot be exported to ONNX: {str(error).splitlines()[0]}") from error
    return onnx.load_from_string(buffer.getvalue())


@contextlib.contextmanager
def _narrow_ranges() -> Iterator[None]:
    """Teach the tracing exporter fake quantization to -127..127, which it refuses: symmetric weights have no -128."""
    import torch

    names = ("aten::fake_quantize_per_channel_affine", "aten::fake_quantize_per_tensor_affine")
    for name, symbolic in zip(names, (_per_channel, _per_tensor)):
        torch.onnx.register_custom_op_symbolic(name, symbolic, 13)
    try:
        yield
    finally:
        for name in names:
            torch.onnx.unregister_custom_op_symbolic(name, 13)


def _per_channel(g: Any, x: Any, scale: Any, zero: Any, axis: Any, low: Any, high: Any) -> Any:
    """torch.fake_quantize_per_channel_affine as QuantizeLinear and DequantizeLinear along `axis`."""
    from torch.onnx import symbolic_helper

    return _rounded(g, x, scale, zero, low, high, symbolic_helper._get_const(axis, "i", "axis"))


def _per_tensor(g: Any, x: Any, scale: Any, zero: Any, low: Any, high: Any) -> Any:
    """torch.fake_quantize_per_tensor_affine as QuantizeLinear and DequantizeLinear."""
    return _rounded(g, x, scale, zero, low, high, None)


def _rounded(g: Any, x: Any, scale: Any, zero: Any, low: Any, high: Any, axis: int | None) -> Any:
    import torch
    from torch.onnx import symbolic_helper

    ends = symbolic_helper._get_const(low, "i", "quant_min"), symbolic_helper._get_const(high, "i", "quant_max")
    kinds = {(0, 255): "UINT8", (0, 127): "UINT8", (-128, 127): "INT8", (-127, 127): "INT8"}
    if ends not in kinds:
        raise ValueError(f"fake quantization to {ends[0]}..{ends[1]}: ONNX knows {', '.join(map(str, kinds))}")
    dtype = getattr(torch.onnx.TensorProtoDataType, kinds[ends])
    if scale.type().scalarType() != "Float":
        scale = g.op("Cast", scale, to_i=torch.onnx.TensorProtoDataType.FLOAT)
    zero = g.op("Cast", zero, to_i=dtype)
    settings = {} if axis is None else {"axis_i": axis}
    stored = g.op("QuantizeLinear", x, scale, zero, **settings)
    if ends in ((0, 127), (-127, 127)):
        bounds = [torch.tensor(end, dtype=torch.uint8 if kinds[ends] == "UINT8" else torch.int8) for end in ends]
        stored = g.op("Clip", stored, *(g.op("Constant", value_t=bound) for bound in bounds))
    return g.op("DequantizeLinear", stored, scale, zero, **settings)
