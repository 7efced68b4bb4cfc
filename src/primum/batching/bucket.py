"""What may share a batch: inputs of equal names, dtypes and shapes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any


def array_bucket(dtype: Any, shape: tuple[int, ...]) -> Hashable:
    """The bucket of one case given as an array of this numpy dtype and shape."""
    return (dtype.str, shape)


def bucket_of(value: Any) -> Hashable:
    """The bucket of any input: names, dtypes and shapes, never values.

    Arrays and tensors by dtype and shape, mappings by their names, sequences by length and their first element,
    anything else by type; whole and decimal numbers are one kind.
    """
    shape = getattr(value, "shape", None)
    if shape is not None:
        return (str(getattr(value, "dtype", "")), tuple(shape))
    if isinstance(value, Mapping):
        return tuple(sorted((str(name), bucket_of(part)) for name, part in value.items()))
    if isinstance(value, list | tuple):
        return (len(value), bucket_of(value[0]) if value else None)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return type(value).__name__
