"""Open Inference Protocol v2 over REST: from a body to named tensors, and from answers to a body.

With its extensions for binary tensor data and for the schedule policy (`priority`, 1 highest and 0 default; `timeout`
in microseconds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import msgspec
from numpy.typing import NDArray

from primum.errors import InputError
from primum.serving.wire.body import Input, Output, Parameters, read
from primum.serving.wire.pieces import from_large_json
from primum.serving.wire.tensors import checked_shape, datatype_of, from_bytes, from_json, to_bytes

HEADER = "inference-header-content-length"
"""Names the bytes of JSON at the head of a body with binary data."""
MOST_TEXT = 500
"""Characters of an error's text: it quotes names that a client chose, and gRPC sends it in a header."""
MOST_ID = 256
"""Characters of a request's id, which the answer and the audit log repeat."""
EXTENSIONS = ("binary_tensor_data", "schedule_policy")


class Request(msgspec.Struct):
    """What a client asks of a model."""

    inputs: dict[str, NDArray[Any]]
    id: str | None
    outputs: dict[str, bool] | None
    """Names of wanted outputs, and whether as binary data; None: all."""
    binary: bool
    """Whether outputs without a wish of their own go as binary data."""
    priority: int
    timeout_s: float | None

    @property
    def cases(self) -> int:
        """Rows of the first input."""
        return len(next(iter(self.inputs.values()), ()))


_ENCODER = msgspec.json.Encoder()


def decode(body: bytes, header_length: int | None) -> Request:
    """The request in `body`, whose first `header_length` bytes are JSON (None: all of it). Raises InputError."""
    head, raw = body, memoryview(b"")
    if header_length is not None:
        if not 0 < header_length <= len(body):
            raise InputError(f"{HEADER}: {header_length}, but the body has {len(body)} bytes")
        head, raw = body[:header_length], memoryview(body)[header_length:]
    try:
        asked, large = read(head)
    except msgspec.MsgspecError as error:
        raise InputError(f"the request is not one of the Open Inference Protocol: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError("the request is not valid UTF-8") from error
    except RecursionError as error:
        raise InputError("the request is not one of the Open Inference Protocol: it is nested too deep") from error
    inputs: dict[str, NDArray[Any]] = {}
    for one, values in zip(asked.inputs, large):
        if one.name in inputs:
            raise InputError(f"input {one.name!r} is given twice")
        shape = checked_shape(one.name, one.shape)
        size = (one.parameters or {}).get("binary_data_size")
        if size is None:
            inputs[one.name] = _values(one, shape, values)
            continue
        part, raw = _part(one.name, size, one.data if values is None else values, raw)
        inputs[one.name] = from_bytes(one.name, one.datatype, shape, part)
    if len(raw):
        raise InputError(f"{len(raw)} bytes after the last binary input belong to none")
    check_id(asked.id)
    parameters = asked.parameters or {}
    binary = _flag(parameters, "binary_data_output", False)
    return Request(inputs, asked.id, _wanted(asked.outputs, binary), binary, *schedule(parameters))


def decode_raw(name: str, shape: tuple[int, ...], body: bytes) -> Request:
    """The request of a body that is nothing but rows of its one input, FP32 (N, *shape). Its outputs go as binary
    data, as those of Triton's raw binary requests do. Raises InputError.
    """
    row = prod(shape) * 4
    if not body or len(body) % row:
        wanted = f"rows of {name!r}, FP32 [-1, {', '.join(map(str, shape))}] of {row} bytes each"
        raise InputError(f"{HEADER} is 0: the body is {wanted}; it has {len(body)}")
    inputs = {name: from_bytes(name, "FP32", (len(body) // row, *shape), body)}
    return Request(inputs, None, None, True, 0, None)


def encode(
    model: str, version: str, id: str | None, outputs: Mapping[str, NDArray[Any]], request: Request, extra: Parameters
) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where binary data follow. Raises InputError."""
    wanted = request.outputs
    if wanted is None:
        wanted = dict.fromkeys(outputs, request.binary)
    listed, raw = [], []
    for name, binary in wanted.items():
        if name not in outputs:
            raise InputError(f"no output {name!r}; the model gives {', '.join(outputs)}")
        array = outputs[name]
        one: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": datatype_of(array)}
        if binary:
            raw.append(to_bytes(array))
            one["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            one["data"] = array.ravel().tolist()
        listed.append(one)
    answer: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": listed}
    if id is not None:
        answer["id"] = id
    if extra:
        answer["parameters"] = extra
    head = _ENCODER.encode(answer)
    return (b"".join([head, *raw]), len(head)) if raw else (head, None)


def error_body(text: str) -> bytes:
    """The body of every answer that is no success."""
    return _ENCODER.encode({"error": shortened(text)})


def shortened(text: str) -> str:
    """At most MOST_TEXT characters of an error's text."""
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"


def _values(one: Input, shape: tuple[int, ...], large: msgspec.Raw | None) -> NDArray[Any]:
    if large is not None:
        return from_large_json(one.name, one.datatype, shape, large)
    if one.data is None:
        raise InputError(f"input {one.name!r} has neither data nor binary_data_size")
    return from_json(one.name, one.datatype, shape, one.data)


def _part(name: str, size: Any, data: Any, raw: memoryview) -> tuple[memoryview, memoryview]:
    if data is not None:
        raise InputError(f"input {name!r} has both data and binary_data_size")
    if type(size) is not int or not 0 <= size <= len(raw):
        raise InputError(f"input {name!r}: binary_data_size {size}, but {len(raw)} bytes are left in the body")
    return raw[:size], raw[size:]


def _wanted(outputs: Sequence[Output] | None, binary: bool) -> dict[str, bool] | None:
    if not outputs:
        return None
    return {one.name: _flag(one.parameters or {}, "binary_data", binary) for one in outputs}


def schedule(parameters: Parameters) -> tuple[int, float | None]:
    """Priority (0: default) and timeout in seconds of the schedule policy. Raises InputError."""
    priority, timeout = parameters.get("priority", 0), parameters.get("timeout", 0)
    for name, value in (("priority", priority), ("timeout", timeout)):
        if type(value) is not int or not 0 <= value < 2**63:
            raise InputError(f"parameter {name} is a whole number of at least 0 and below 2**63")
    assert isinstance(priority, int) and isinstance(timeout, int)
    return priority, timeout / 1e6 if timeout else None


def check_id(id: str | None) -> None:
    """Raises InputError where a request's id is too long."""
    if id is not None and len(id) > MOST_ID:
        raise InputError(f"the request's id has {len(id)} characters; at most {MOST_ID} are taken")


def _flag(parameters: Parameters, name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if type(value) is not bool:
        raise InputError(f"parameter {name} is true or false, not {value!r}")
    return value
