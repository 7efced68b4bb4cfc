"""An .npy file mapped for writing, its disk space claimed at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


def reserve(path: Path, shape: tuple[int, ...], dtype: type[np.float32] | type[np.uint8]) -> np.memmap[Any, Any]:
    """A new file of that shape, mapped.

    A full disk found later, under the memory map, would kill the process instead of raising OSError.
    """
    with path.open("wb") as file:
        offset = _write_header(file, shape, dtype)
        file.flush()
        os.posix_fallocate(file.fileno(), 0, offset + int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return np.memmap(path, dtype, mode="r+", offset=offset, shape=shape)


def shorten(path: Path, shape: tuple[int, ...], dtype: type[np.float32] | type[np.uint8]) -> None:
    """Keep the first rows alone. numpy pads the header for any number of rows, so its length stays."""
    with path.open("r+b") as file:
        offset = _write_header(file, shape, dtype)
        file.truncate(offset + int(np.prod(shape)) * np.dtype(dtype).itemsize)


def _write_header(file: BinaryIO, shape: tuple[int, ...], dtype: type[np.float32] | type[np.uint8]) -> int:
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
    return file.tell()
