"""The JSON of a request of the Open Inference Protocol as structs.

One call that makes a list of millions of values holds up everybody else, in whatever thread it runs, for it keeps the
interpreter's lock. So of a large body only the outline is read: tensors stay bytes, for `pieces` to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from primum.errors import InputError

LARGE = 2**18
"""Bytes of JSON above which only the outline is read; below it all of it takes a few milliseconds."""
_MOST_ELSE = 2**16
"""Bytes of whatever is no tensor in a large body."""
_MOST_BRACES = 256
"""In the inputs of one: each input has one or two."""

Parameters = dict[str, str | int | float | bool]


class Input(msgspec.Struct):
    """A tensor that is sent."""

    name: str
    shape: list[Any]
    datatype: str
    data: list[Any] | None = None
    parameters: Parameters | None = None


class Output(msgspec.Struct):
    """A tensor that is wanted."""

    name: str
    parameters: Parameters | None = None


class Body(msgspec.Struct):
    """A request."""

    inputs: list[Input]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[Output] | None = None


class Asked(NamedTuple):
    """A request, and for each input of a large one its data as JSON, which the input itself lacks then."""

    body: Body
    data: Sequence[msgspec.Raw | None]


_NONE = msgspec.Raw(b"null")


class _Outline(msgspec.Struct):
    inputs: msgspec.Raw
    id: msgspec.Raw = _NONE
    parameters: msgspec.Raw = _NONE
    outputs: msgspec.Raw = _NONE


class _Input(msgspec.Struct):
    name: msgspec.Raw
    shape: msgspec.Raw
    datatype: msgspec.Raw
    data: msgspec.Raw = _NONE
    parameters: msgspec.Raw = _NONE


_DECODER = msgspec.json.Decoder(Body)
_OUTLINE = msgspec.json.Decoder(_Outline)
_INPUTS = msgspec.json.Decoder(list[_Input])


def read(head: bytes) -> Asked:
    """The request. Raises msgspec's errors, and InputError where a large one is so by something else than tensors."""
    if len(head) <= LARGE:
        body = _DECODER.decode(head)
        return Asked(body, (None,) * len(body.inputs))
    outline = _OUTLINE.decode(head)
    if bytes(outline.inputs).count(b"{") > _MOST_BRACES:
        raise InputError("the request has too many inputs, or objects in their data")
    inputs = _INPUTS.decode(outline.inputs)
    described = [_object(one, ("name", "shape", "datatype", "parameters")) for one in inputs]
    outline.inputs = msgspec.Raw(b"[" + b",".join(described) + b"]")
    # Without its tensors it is small, and read as any other.
    body = _DECODER.decode(_object(outline, outline.__struct_fields__))
    return Asked(body, [None if one.data == _NONE else one.data for one in inputs])


def _object(struct: msgspec.Struct, fields: Sequence[str]) -> bytes:
    """Its fields as JSON. Raises InputError where one is too long."""
    values = {field: bytes(getattr(struct, field)) for field in fields}
    for field, value in values.items():
        if len(value) > _MOST_ELSE:
            raise InputError(f"the request's {field} takes {len(value)} bytes; at most {_MOST_ELSE} are read")
    return b"{" + b",".join(b'"%b":%b' % (field.encode(), value) for field, value in values.items()) + b"}"
