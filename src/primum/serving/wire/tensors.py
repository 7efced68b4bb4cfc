"""Tensors of the Open Inference Protocol v2: names of data types, values as JSON, raw bytes, numpy arrays.

Little-endian, row-major; BOOL one byte; BYTES each with its length in four bytes before it (the binary tensor data
extension, https://github.com/kserve/open-inference-protocol).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import InputError

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    **{
        f"{kind}{bits}": np.dtype(f"<{kind[0].lower()}{bits // 8}")
        for kind in ("UINT", "INT")
        for bits in (8, 16, 32, 64)
    },
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Data types of fixed size. FP16 has no form in JSON; BYTES is told apart."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_KINDS = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}
_WIDE = np.dtype(np.float64)
_SURELY = float(np.finfo(np.float32).max) ** 2 / 2
"""Of squares: below it each value has a place in FP32."""
BYTES = "BYTES"
_MOST_AXES = 16
_LONGEST_AXIS = 2**31 - 1


def checked_shape(name: str, shape: Sequence[Any]) -> tuple[int, ...]:
    """`shape` as integers of at least 1 (a batch of none is refused); InputError, which quotes no number: Python
    cannot write those of thousands of digits.
    """
    if not 1 <= len(shape) <= _MOST_AXES:
        raise InputError(f"input {name!r}: a shape has 1 to {_MOST_AXES} axes, not {len(shape)}")
    for number, size in enumerate(shape):
        if type(size) is not int or not 1 <= size <= _LONGEST_AXIS:
            raise InputError(
                f"input {name!r}: axis {number} of its shape is no whole number of at least 1 and at most "
                f"{_LONGEST_AXIS}"
            )
    return tuple(shape)


def dtype_of(name: str, datatype: str) -> np.dtype[Any]:
    """The numpy dtype of a data type of fixed size; InputError."""
    if datatype not in DTYPES:
        raise InputError(f"input {name!r}: datatype {datatype!r} is not one of {', '.join(DTYPES)}")
    return DTYPES[datatype]


def from_json(name: str, datatype: str, shape: tuple[int, ...], data: Sequence[Any]) -> NDArray[Any]:
    """The tensor of nested or flat `data`; InputError where it does not fit datatype or shape."""
    dtype = dtype_of(name, datatype)
    if datatype == "FP16":
        raise InputError(f"input {name!r}: FP16 has no form in JSON; send it as binary data, or as FP32")
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise InputError(f"input {name!r}: data is ragged") from error
    if array.dtype is not _WIDE or dtype.kind != "f":
        if dtype == np.uint64 and array.dtype.kind == "f":
            array = _whole(data, array)
        _check_kind(name, datatype, dtype, array)
    if array.size != prod(shape):
        raise InputError(f"input {name!r}: {array.size} values do not fill shape {list(shape)}")
    if array.ndim > 1 and array.shape != shape:
        raise InputError(f"input {name!r}: data is nested as {list(array.shape)}, shape is {list(shape)}")
    return _cast(name, datatype, dtype, array).reshape(shape)


def from_bytes(name: str, datatype: str, shape: tuple[int, ...], raw: bytes | memoryview) -> NDArray[Any]:
    """The tensor of raw bytes, without a copy; InputError where their number does not fit, or one is not finite."""
    dtype = dtype_of(name, datatype)
    wanted = prod(shape) * dtype.itemsize
    if len(raw) != wanted:
        raise InputError(f"input {name!r}: {len(raw)} bytes, but shape {list(shape)} of {datatype} takes {wanted}")
    array = np.frombuffer(raw, dtype)
    check_finite(name, datatype, array)
    return array.reshape(shape)


def check_finite(name: str, datatype: str, array: NDArray[Any]) -> None:
    """InputError where a flat tensor of floats holds NaN or an infinity, as JSON could not have said them."""
    if array.dtype.kind != "f":
        return
    with np.errstate(all="ignore"):
        # A finite sum of squares tells almost every time, and cheaply, that all are finite.
        surely = array.dtype.itemsize > 2 and np.isfinite(array.dot(array))
    if not surely and not np.isfinite(array).all():
        raise _not_finite(name, datatype)


def to_bytes(array: NDArray[Any]) -> bytes:
    """Raw bytes of a tensor."""
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def datatype_of(array: NDArray[Any]) -> str:
    """The protocol's name of an array's dtype."""
    return _NAMES[array.dtype]


def _whole(data: Sequence[Any], array: NDArray[Any]) -> NDArray[Any]:
    """Integers of which some need 64 bits without a sign: numpy makes floats of them beside smaller ones."""
    exact = np.asarray(data, dtype=object)
    fits = all(type(value) is int and 0 <= value < 2**64 for value in exact.ravel())
    return exact.astype(np.uint64) if fits else array


def _check_kind(name: str, datatype: str, dtype: np.dtype[Any], array: NDArray[Any]) -> None:
    if array.size and array.dtype.kind not in _KINDS[dtype.kind]:
        found = "text or mixed values" if array.dtype.kind in "OUS" else str(array.dtype)
        raise InputError(f"input {name!r}: data holds {found}, not {datatype}")


def _cast(name: str, datatype: str, dtype: np.dtype[Any], array: NDArray[Any]) -> NDArray[Any]:
    if dtype.kind in "iu" and array.size:
        info = np.iinfo(dtype)
        if int(array.min()) < info.min or int(array.max()) > info.max:
            raise InputError(f"input {name!r}: a value is outside {datatype}")
    if dtype.kind != "f":
        return array.astype(dtype)
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
        # The sum of squares tells almost every time, and cheaply, that all are finite and small enough.
        surely = array.dtype is _WIDE and array.ndim == 1 and array.dot(array) < _SURELY
    if not surely and not np.isfinite(cast).all():
        raise _not_finite(name, datatype)
    return cast


def _not_finite(name: str, datatype: str) -> InputError:
    return InputError(f"input {name!r}: a value is too large for {datatype}, or not finite")
