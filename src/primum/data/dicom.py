"""One image of a DICOM file, as a display shows it: 8 bits, black to white, by the file's own window.

Only the elements that describe the pixels are read: nothing else of the header reaches a log, a message or an answer.
Grey values go the way of DICOM PS3.3 (C.11.1, C.11.2, C.7.6.3.1.2): rescale (or the modality's table), then the first
window (or the table of values of interest), then MONOCHROME1 is turned round.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from primum.data.images import MAX_PIXELS
from primum.data.quiet import quiet
from primum.errors import InputError, MissingExtra, UnsafeInput, UnsupportedFormat

_MAGIC, _PREAMBLE = b"DICM", 128
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_COMPRESSED = tuple(f"1.2.840.10008.1.2.4.{last}" for last in (50, 51, 90, 91))
"""JPEG of 8 bits and JPEG 2000. RLE and deflated files are left out: both may unpack to far more than they promise."""
_TAGS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "RescaleSlope", "RescaleIntercept"),
    *("ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
)
_YBR = ("YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_ERRORS = (
    *(ValueError, TypeError, AttributeError, LookupError, RuntimeError, ArithmeticError, AssertionError),
    *(OSError, EOFError, SyntaxError, struct.error, zlib.error, Image.DecompressionBombError),
)
"""What pydicom and the decoders below it raise on damaged files."""


class Voi(StrEnum):
    """Where the values of interest come from."""

    WINDOW = "window"
    TABLE = "table"
    NONE = "none"
    """The file says nothing: all values that its bits can hold."""
    COLOR = "color"
    """Colours have none."""


@dataclass(frozen=True)
class DicomImage:
    """`pixels`: uint8 (H, W), 0 black; or (H, W, 3) of a coloured image."""

    pixels: NDArray[np.uint8]
    voi: Voi


def is_dicom(data: bytes) -> bool:
    """Whether these are the bytes of a DICOM file (PS3.10)."""
    return data[_PREAMBLE : _PREAMBLE + len(_MAGIC)] == _MAGIC


def read_dicom(data: bytes, name: str) -> DicomImage:
    """Read the one image of a file; its size is checked before a pixel is decoded.

    Raises MissingExtra where pydicom is; UnsupportedFormat for a transfer syntax (named) or pixels that are not read;
    UnsafeInput where it promises more than MAX_PIXELS; InputError naming `name` where it has no image or several, or
    is damaged.
    """
    try:
        import pydicom
        from pydicom.errors import BytesLengthException, InvalidDicomError
    except ImportError as error:
        raise MissingExtra("reading DICOM", "medical") from error
    try:
        with quiet():
            _check_syntax(data, name)
            found = pydicom.dcmread(BytesIO(data), specific_tags=list(_TAGS))
            _check_pixels(found, name)
            return _rendered(found, name)
    # What they say might quote the header.
    except (*_ERRORS, BytesLengthException, InvalidDicomError) as error:
        raise InputError(f"{name}: the DICOM file is truncated or corrupt, or its pixels cannot be decoded") from error


def rendered_values(values: NDArray[np.float32], found: Any) -> tuple[NDArray[np.float32], Voi]:
    """Values after the modality's stage, as 0 (least) to 1 by the file's table or window. `found`: its dataset."""
    from pydicom.pixels import apply_voi

    if "VOILUTSequence" in found:
        bits = int(found.VOILUTSequence[0].LUTDescriptor[2])
        whole = np.asarray(values, np.int64)
        return np.asarray(apply_voi(whole, found) / (2.0**bits - 1), np.float32), Voi.TABLE
    if "WindowCenter" in found and "WindowWidth" in found:
        center, width = _first(found.WindowCenter), _first(found.WindowWidth)
        function = str(found.get("VOILUTFunction") or "LINEAR").upper()
        return windowed(values, center, width, function), Voi.WINDOW
    low, high = _range(found)
    return np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1), Voi.NONE


def windowed(values: NDArray[np.float32], center: float, width: float, function: str) -> NDArray[np.float32]:
    """Values as 0 to 1 by a window (PS3.3 C.11.2.1.2 and C.11.2.1.3). ValueError where it is none."""
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or width < (1 if function == "LINEAR" else 1e-9):
        raise ValueError("no window")
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-4 * (values - np.float32(center)) / np.float32(width))), np.float32)
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return np.asarray(values > center, np.float32)
    return np.clip((values - np.float32(center)) / np.float32(width) + np.float32(0.5), 0, 1)


def _check_syntax(data: bytes, name: str) -> None:
    """Before the file is read: a deflated one would be unpacked at once, however large it becomes."""
    from pydicom.filereader import read_dataset

    head = BytesIO(data)
    head.seek(_PREAMBLE + len(_MAGIC))
    meta = read_dataset(head, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    syntax = meta[0x0002, 0x0010].value
    if syntax not in (*_UNCOMPRESSED, *_COMPRESSED):
        called = syntax.name if syntax.is_transfer_syntax and not syntax.is_private else "a private one"
        raise UnsupportedFormat(
            f"{name}: the transfer syntax {called} is not read; convert it to one of uncompressed little endian, "
            "JPEG baseline or JPEG 2000"
        )


def _check_pixels(found: Any, name: str) -> None:
    if "PixelData" not in found:
        raise InputError(f"{name}: the DICOM file holds no image")
    frames = int(found.get("NumberOfFrames") or 1)
    if frames != 1:
        raise InputError(f"{name}: the DICOM file holds {frames} frames; give one image a file")
    rows, columns, samples = int(found.Rows), int(found.Columns), int(found.SamplesPerPixel)
    if rows * columns > MAX_PIXELS:
        raise UnsafeInput(
            f"{name}: the header promises {columns}x{rows} pixels, more than the {MAX_PIXELS:,} allowed; it was not "
            "decoded"
        )
    kind = str(found.PhotometricInterpretation)
    grey = kind in ("MONOCHROME1", "MONOCHROME2") and samples == 1
    colored = kind in ("RGB", *_YBR) and samples == 3 and int(found.BitsStored) == 8
    if not (grey or colored):
        raise UnsupportedFormat(
            f"{name}: read are MONOCHROME1 and MONOCHROME2, and RGB and YBR of 8 bits; this DICOM file holds something "
            "else"
        )
    if found.file_meta.TransferSyntaxUID in _COMPRESSED:
        _check_stream(found, (columns, rows), name)


def _check_stream(found: Any, size: tuple[int, int], name: str) -> None:
    """A compressed image has a header of its own, which may promise more than the file's."""
    from pydicom.encaps import get_frame

    with Image.open(BytesIO(get_frame(found.PixelData, 0, number_of_frames=1)), formats=("JPEG", "JPEG2000")) as image:
        if image.size != size:
            raise UnsafeInput(f"{name}: the compressed image is not as large as the header says; it was not decoded")


def _rendered(found: Any, name: str) -> DicomImage:
    from pydicom.pixels import apply_modality_lut, pixel_array

    stored = pixel_array(found)
    if stored.ndim == 3:
        return DicomImage(np.ascontiguousarray(stored, np.uint8), Voi.COLOR)
    if "ModalityLUTSequence" in found:
        values = np.asarray(apply_modality_lut(stored, found), np.float32)
    else:
        slope, intercept = _rescale(found)
        values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if not np.isfinite(values).all():
        raise InputError(f"{name}: the DICOM file holds values that are not finite")
    shown, voi = rendered_values(values, found)
    if found.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    return DicomImage(np.rint(shown * 255).astype(np.uint8), voi)


def _rescale(found: Any) -> tuple[float, float]:
    slope, intercept = found.get("RescaleSlope"), found.get("RescaleIntercept")
    return (1.0 if slope is None else float(slope)), (0.0 if intercept is None else float(intercept))


def _range(found: Any) -> tuple[float, float]:
    """Least and largest value that the stored bits can become."""
    if "ModalityLUTSequence" in found:
        return 0.0, 2.0 ** int(found.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    bits = int(found.BitsStored)
    stored = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if found.PixelRepresentation else (0.0, 2.0**bits - 1)
    slope, intercept = _rescale(found)
    ends = sorted(slope * end + intercept for end in stored)
    if ends[0] == ends[1]:
        raise ValueError("no range")
    return ends[0], ends[1]


def _first(value: Any) -> float:
    """Of several windows the first is shown."""
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)
