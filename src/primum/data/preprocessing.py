"""Declarative preprocessing of images, stored in the artifact: decode, colour, resize, crop, scale, normalise.

Resizing is Pillow's own (antialiased), so numbers are those of a training pipeline built on Pillow or torchvision.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from primum.config import explain, read_mapping
from primum.data.synthetic import smooth_fields
from primum.errors import InputError

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
Numbers = Annotated[tuple[float, ...], BeforeValidator(lambda v: (v,) if isinstance(v, int | float) else v)]
"""One number, or several."""
_WIDE = ("I;16", "I;16L", "I;16B", "I", "F")


class Color(StrEnum):
    """Channels of the network's input."""

    GREY = "grey"
    RGB = "rgb"


class Preprocessing(BaseModel):
    """How a raw image becomes the network's input, a float32 array (channels, height, width).

    `scale` multiplies pixel values first; None means 1/255 for 8-bit images and 1/65535 for 16-bit ones
    (floating-point ones need it).
    `mean` and `std` (one number, or one a channel) then normalise: (x * scale - mean) / std.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    kind: Literal["image"] = "image"
    color: Color = Color.GREY
    size: tuple[int, int] | None = None
    """(height, width) to resize to; None keeps the image's own."""
    interpolation: str = "bilinear"
    crop: tuple[int, int] | None = None
    """(height, width) of a centre crop after resizing."""
    scale: float | None = Field(None, gt=0)
    mean: Numbers = (0.0,)
    std: Numbers = (1.0,)

    @model_validator(mode="after")
    def _check(self) -> Preprocessing:
        if self.interpolation not in _FILTERS:
            raise ValueError(f"interpolation must be one of {', '.join(_FILTERS)}")
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, self.channels):
                raise ValueError(f"{name} needs one number, or one for each of {self.channels} channel(s)")
        if any(s <= 0 for s in self.std):
            raise ValueError("std must be positive")
        for box in (self.size, self.crop):
            if box and not all(0 < side <= 8192 for side in box):
                raise ValueError("sizes are (height, width) between 1 and 8192")
        if self.size and self.crop and any(c > s for c, s in zip(self.crop, self.size)):
            raise ValueError("crop must not be larger than size")
        return self

    @property
    def channels(self) -> int:
        """1 for grey, 3 for rgb."""
        return 1 if self.color is Color.GREY else 3

    def __call__(self, image: Image.Image | NDArray[Any]) -> NDArray[np.float32]:
        """One image to float32 (channels, height, width).

        Arrays are (H, W) of uint8 or uint16, or (H, W, 3) of uint8.
        """
        picture, top = _as_picture(image, self.color)
        if top is None and self.scale is None:
            raise InputError("a floating-point image has no largest value: set scale in the preprocessing")
        picture = self._placed(picture, _FILTERS[self.interpolation])
        scale = self.scale if self.scale is not None else 1.0 / (top or 1.0)
        pixels = np.asarray(picture, dtype=np.float32)
        chw = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        mean = np.asarray(self.mean, np.float32).reshape(-1, 1, 1)
        std = np.asarray(self.std, np.float32).reshape(-1, 1, 1)
        return np.ascontiguousarray((chw * np.float32(scale) - mean) / std, dtype=np.float32)

    def mask(self, classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The classes (H, W) of an image's pixels, resized (nearest) and cropped as the image is."""
        return np.asarray(self._placed(Image.fromarray(classes), Image.Resampling.NEAREST))

    def synthetic(self, count: int, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
        """Network inputs that are no patient's, float32 (count, *shape), within `value_range`."""
        return smooth_fields(count, shape, *self.value_range(), seed)

    def _placed(self, picture: Image.Image, resampling: Image.Resampling) -> Image.Image:
        if self.size is not None:
            height, width = self.size
            picture = picture.resize((width, height), resampling)
        return picture if self.crop is None else _centre_crop(picture, self.crop)

    def value_range(self) -> tuple[float, float]:
        """Smallest and largest value that an 8-bit (or `scale`d) image can become."""
        top = 1.0 if self.scale is None else 255.0 * self.scale
        ends = (np.array([[0.0], [top]]) - np.array(self.mean)) / np.array(self.std)
        return float(ends.min()), float(ends.max())

    @classmethod
    def from_file(cls, path: Path) -> Preprocessing:
        """Read a YAML file. Raises InputError naming the offending key."""
        try:
            return cls.model_validate(read_mapping(path))
        except OSError as error:
            raise InputError(f"cannot read the preprocessing {path}: {error.strerror}") from error
        except ValidationError as error:
            raise InputError(f"{path}: {explain(error)}") from error


def _as_picture(image: Image.Image | NDArray[Any], color: Color) -> tuple[Image.Image, float | None]:
    """The picture in the wanted mode, and the largest value that its depth allows (None: a float has none)."""
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    if image.mode not in _WIDE:
        mode = "L" if color is Color.GREY else "RGB"
        try:
            return (image if image.mode == mode else image.convert(mode)), 255.0
        except ValueError as error:
            raise InputError(f"an image of mode {image.mode} cannot be read as {color}") from error
    if color is Color.RGB:
        raise InputError("a 16-bit or floating-point image cannot be read as rgb; set color: grey")
    # convert("L") would clip a 16-bit image at 255: go through floats, which Pillow resizes exactly.
    return image.convert("F"), None if image.mode == "F" else 65535.0


def _from_array(array: NDArray[Any]) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    grey = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    rgb = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if not (grey or rgb) or not array.size:
        raise InputError(
            f"an image array must be (height, width) of uint8 or uint16, or (height, width, 3) of uint8, not "
            f"{array.shape} of {array.dtype}"
        )
    return Image.fromarray(array)


def _centre_crop(picture: Image.Image, box: tuple[int, int]) -> Image.Image:
    height, width = box
    if picture.height < height or picture.width < width:
        raise InputError(
            f"an image of {picture.height}x{picture.width} is smaller than the crop {height}x{width}; set size first"
        )
    top, left = round((picture.height - height) / 2), round((picture.width - width) / 2)
    return picture.crop((left, top, left + width, top + height))
