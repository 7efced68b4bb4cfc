"""Decoding whatever image a file holds."""

from __future__ import annotations

from PIL import Image

from primum.data.dicom import is_dicom, read_dicom
from primum.data.images import decode

DICOM = "DICOM"
"""The `format` of a decoded picture that was a DICOM file; its `info` tells the `voi`."""


def decode_image(data: bytes, name: str) -> Image.Image:
    """Decode one still image, of a DICOM file as a display shows it. Raises as `decode` and `read_dicom`."""
    if not is_dicom(data):
        return decode(data, name)
    found = read_dicom(data, name)
    image = Image.fromarray(found.pixels)
    image.format = DICOM
    image.info["voi"] = found.voi.value
    return image
