"""DICOM files made with pydicom: no patient's, though they name one."""

from io import BytesIO

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
    generate_uid,
)

PATIENT = "Zebedee^Quillfeather"


def dicom(
    pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, bits: int | None = None, data: bytes | None = None, **more
) -> bytes:
    """A file of (H, W) or (H, W, 3) pixels; `more`: further elements, by keyword."""
    found = Dataset()
    found.PatientName, found.PatientID, found.PatientBirthDate = PATIENT, "ID-4711", "19630212"
    found.SOPClassUID, found.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    grey = pixels.ndim == 2
    found.Rows, found.Columns = pixels.shape[:2]
    found.SamplesPerPixel = 1 if grey else 3
    found.PhotometricInterpretation = "MONOCHROME2" if grey else "RGB"
    if not grey:
        found.PlanarConfiguration = 0
    found.BitsAllocated = 8 * pixels.dtype.itemsize
    found.BitsStored = bits or found.BitsAllocated
    found.HighBit = found.BitsStored - 1
    found.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in more.items():
        setattr(found, name, value)
    found.PixelData = pixels.tobytes() if data is None else data
    found["PixelData"].VR = "OW" if found.BitsAllocated > 8 else "OB"
    found["PixelData"].is_undefined_length = data is not None
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = syntax
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID
    out = BytesIO()
    found.save_as(out, enforce_file_format=True)
    return out.getvalue()


def compressed(pixels: np.ndarray, kind: str, **more) -> bytes:
    """The same as JPEG (8 bits) or JPEG 2000 (lossless)."""
    out = BytesIO()
    Image.fromarray(pixels).save(out, kind, **({"quality": 95} if kind == "JPEG" else {"no_jp2": True}))
    syntax = JPEGBaseline8Bit if kind == "JPEG" else JPEG2000Lossless
    return dicom(pixels, syntax, data=encapsulate([out.getvalue()]), **more)
