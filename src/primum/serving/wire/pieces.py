"""The values of a large tensor in JSON, read in pieces: none keeps the interpreter's lock for long, and too many values
or other things than numbers end it at once.
"""

from __future__ import annotations

from math import prod
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError
from primum.serving.wire.tensors import dtype_of, from_json

_PIECE = 2**18
"""Bytes."""
_NO_FORM = bytes(set(range(256)) - set(b"[],"))
_DECODER = msgspec.json.Decoder(list[Any])


def from_large_json(name: str, datatype: str, shape: tuple[int, ...], data: msgspec.Raw) -> NDArray[Any]:
    """The tensor of nested or flat `data`, as `from_json` gives it; InputError where it does not fit."""
    whole, wanted = memoryview(data), prod(shape)
    # So many values need a byte each and a comma between.
    if wanted > len(whole) // 2:
        raise InputError(f"input {name!r}: {len(whole)} bytes of data do not fill shape {list(shape)}")
    values, form = np.empty(wanted, dtype_of(name, datatype)), []
    start = filled = 0
    while start < len(whole):
        piece = bytes(whole[start : start + _PIECE])
        start += len(piece)
        if start < len(whole):
            cut = piece.rfind(b",") + 1
            if not cut:
                raise InputError(f"input {name!r}: data holds something else than numbers, or is mostly blank")
            piece, start = piece[:cut], start - len(piece) + cut
        form.append(piece.translate(None, _NO_FORM))
        part = _numbers(name, datatype, piece)
        filled += len(part)
        if filled > wanted:
            raise InputError(f"input {name!r}: more values than fill shape {list(shape)}")
        values[filled - len(part) : filled] = part
    if filled != wanted:
        raise InputError(f"input {name!r}: {filled} values do not fill shape {list(shape)}")
    found = b"".join(form)
    if found != _form((wanted,)) and found != _form(shape):
        raise InputError(f"input {name!r}: data is ragged, or nested otherwise than shape {list(shape)}")
    return values.reshape(shape)


def _numbers(name: str, datatype: str, piece: bytes) -> NDArray[Any]:
    """Those between two commas, without what they are nested in."""
    try:
        found = _DECODER.decode(b"[" + piece.translate(None, b"[]").strip().removesuffix(b",") + b"]")
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"input {name!r}: data holds something else than numbers") from error
    return from_json(name, datatype, (len(found),), found)


def _form(shape: tuple[int, ...]) -> bytes:
    """Brackets and commas of a tensor of that shape."""
    form = b""
    for size in reversed(shape):
        form = b"[" + form + (b"," + form) * (size - 1) + b"]"
    return form
