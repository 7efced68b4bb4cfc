"""Decoding images that strangers made: size checked from the header before a pixel is decoded."""

from __future__ import annotations

import io

from PIL import Image, ImageOps, UnidentifiedImageError

from primum.data.quiet import quiet
from primum.errors import InputError, UnsafeInput

MAX_PIXELS = 64_000_000
"""Largest image decoded, in pixels: above any radiograph (a 43x35 cm plate at 100 µm has 15 million)."""

_FORMATS = ("PNG", "JPEG", "JPEG2000", "BMP", "TIFF", "WEBP", "GIF", "PPM")
"""What is decoded, whatever the file calls itself (JPEG includes MPO). Other readers of Pillow start programs (EPS)."""


def decode(data: bytes, name: str) -> Image.Image:
    """Decode one still image, upright (EXIF orientation applied).

    Raises UnsafeInput where the header promises more than MAX_PIXELS, InputError naming `name` where the data are
    truncated, malformed, of an unknown format or several images (pages, frames of an animation).
    """
    with quiet():
        try:
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
        except (
            UnidentifiedImageError,
            Image.DecompressionBombError,
            OSError,
            SyntaxError,
            ValueError,
        ) as error:
            if isinstance(error, Image.DecompressionBombError):
                raise _too_large(name) from error
            raise InputError(f"{name}: not an image that can be read (is it truncated or corrupt?)") from error
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _too_large(name, f"{width}x{height}")
        try:
            # A camera's file of several (MPO) says which one is the image; the others are views beside it.
            several = image.format != "MPO" and getattr(image, "is_animated", False)
            image.load()
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            # Not in the decoder's words: they quote the file.
            raise InputError(f"{name}: the image is truncated or corrupt") from error
        if several:
            raise InputError(f"{name}: the file holds several images; give one image a file")
        return ImageOps.exif_transpose(image)


def _too_large(name: str, size: str = "far") -> UnsafeInput:
    return UnsafeInput(
        f"{name}: the header promises {size} pixels, more than the {MAX_PIXELS:,} allowed; it was not decoded"
    )
