"""Opening an .npz that a stranger made: no pickle, no promise of more than the machine holds."""

from __future__ import annotations

import tokenize
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.data.sources import ZIP_ERRORS
from primum.errors import InputError


@contextmanager
def opened(path: Path, what: str = "an .npz") -> Iterator[Any]:
    """The archive, key -> array, read as each key is asked for. InputError where it cannot be read safely."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise TypeError("it is a single array")
            yield arrays
    # SyntaxError, TokenError: numpy evaluates an array's header as a literal.
    except (*ZIP_ERRORS, MemoryError, TypeError, SyntaxError, tokenize.TokenError) as error:
        raise InputError(f"{path}: not {what} that can be read safely ({error})") from error


def cells(array: NDArray[Any], what: str) -> list[str]:
    """An array (N,) as text: whole numbers without a point, NaN as "". InputError on other than numbers and text."""
    kind = array.dtype.kind
    if array.ndim != 1 or kind not in "biufU":
        raise InputError(f"{what} must be one number or text a case, not {array.shape} of {array.dtype}")
    if kind == "f":
        return ["" if v != v else str(int(v)) if v.is_integer() else repr(v) for v in map(float, array)]
    return [str(v).strip() for v in array.tolist()]
