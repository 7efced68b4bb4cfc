"""What a case is known by, in the ledger and where no patient is named: what its input holds, however it is stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from primum.data.sources import Item

KEY = "decoded/2"
"""Names what digests are taken over: those of another key are of no use beside these."""
_OPAQUE = 255


def content_digest(item: Item) -> str:
    """Digest of a decoded input (16 hex digits): pixels; shape and values; or cells by column.

    A file saved again, a palette, an alpha that hides nothing, grey in three equal channels, a number written
    otherwise, another type or byte order, and upper case or punctuation in a column's name make no other case. Numbers
    are compared as float32, as which every network is given them.
    """
    if isinstance(item, Image.Image):
        mode, pixels = _pixels(item)
        return _of(f"image {mode}", pixels)
    if isinstance(item, Mapping):
        cells = json.dumps(sorted([_plain(str(name)), _cell(cell)] for name, cell in item.items()))
        return hashlib.blake2b(b"row " + cells.encode(), digest_size=8).hexdigest()
    return _of("array", _narrowed(np.asarray(item)))


def _narrowed(values: NDArray[Any]) -> NDArray[Any]:
    """As float32, without axes of length 1; as float64 where a number is too large for that."""
    values = values.squeeze()
    if values.dtype.kind not in "biuf":
        return values
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32) + np.float32(0)  # -0.0 is 0.0
    return narrow if np.array_equal(np.isinf(narrow), np.isinf(values)) else values.astype(np.float64)


def _of(kind: str, values: NDArray[Any]) -> str:
    values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    head = f"{kind} {values.dtype.str} {values.shape}\n".encode()
    return hashlib.blake2b(head + values.tobytes(), digest_size=8).hexdigest()


def _pixels(image: Image.Image) -> tuple[str, NDArray[Any]]:
    """The simplest mode that shows the same, and its pixels."""
    if image.mode in ("P", "PA", "LA") or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "1":
        image = image.convert("L")
    mode, pixels = image.mode, np.asarray(image)
    if mode == "RGBA" and (pixels[..., 3] == _OPAQUE).all():
        mode, pixels = "RGB", pixels[..., :3]
    if mode == "RGB" and (pixels == pixels[..., :1]).all():
        mode, pixels = "L", pixels[..., 0]
    return mode, pixels


def _plain(name: str) -> str:
    """A column's name in letters and digits alone."""
    return "".join(character for character in name.casefold() if character.isalnum()) or name


def _cell(cell: Any) -> str:
    """The text of a cell; of a number the shortest that means it as float32."""
    text = "" if cell is None or cell != cell else str(cell).strip()
    try:
        value = float(text)
    except ValueError:
        return text
    if not isfinite(value) or "_" in text:
        return text
    with np.errstate(over="ignore"):
        narrow = float(np.float32(value))
    return repr((narrow if isfinite(narrow) else value) + 0.0)
