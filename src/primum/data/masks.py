"""Masks: the class of every pixel, as whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from primum.data.decoding import DICOM
from primum.data.sources import Item
from primum.errors import InputError

_WHITE = 255
_MODES = ("1", "L", "P", "I;16", "I")


def class_map(item: Item, name: str) -> NDArray[np.uint8]:
    """A decoded mask as uint8 classes of its own shape.

    A PNG holds the class of each pixel as its grey value or palette index. Raises InputError naming `name` where it
    has colours, or values beyond 255.
    """
    if isinstance(item, Image.Image):
        if item.format == DICOM:
            raise InputError(f"{name}: a mask is no DICOM image, whose values change with its window; give a PNG")
        if item.mode not in _MODES:
            raise InputError(f"{name}: a mask has one channel of whole numbers, this image is {item.mode}")
        item = np.asarray(item)
    values = np.asarray(item)
    if values.dtype.kind not in "biu" or (values.size and (values.min() < 0 or values.max() > _WHITE)):
        raise InputError(f"{name}: a mask holds whole numbers from 0 to {_WHITE}")
    return values.astype(np.uint8)


def indexed(classes: NDArray[np.uint8], count: int, name: str) -> NDArray[np.uint8]:
    """The mask with classes 0 to count - 1; of two classes the second may be written as 255.

    Raises InputError naming `name` where it holds another class.
    """
    found = set(np.unique(classes).tolist())
    if count == 2 and found <= {0, _WHITE}:
        return np.asarray(classes == _WHITE, dtype=np.uint8)
    if found and max(found) >= count:
        raise InputError(f"{name}: holds the class {max(found)}, the model gives classes 0 to {count - 1}")
    return classes


def nearest(classes: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The mask at another size, each pixel that of the nearest centre."""
    if classes.shape == shape:
        return classes
    places = [((np.arange(new) + 0.5) * old / new).astype(np.int64) for old, new in zip(classes.shape, shape)]
    return classes[np.ix_(*places)]
