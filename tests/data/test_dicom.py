"""DICOM images: grey values as pydicom gives them, kinds that are refused by name, damage, and nobody's name told."""

import sys
import zlib
from io import BytesIO

import numpy as np
import pytest
from dicoms import PATIENT, compressed, dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import primum.data.dicom
from primum.data.decoding import decode_image
from primum.data.dicom import Voi, read_dicom, rendered_values, windowed
from primum.data.masks import class_map
from primum.errors import InputError, MissingExtra, UnsafeInput, UnsupportedFormat

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.pixels import apply_modality_lut, apply_voi_lut  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402

CT = np.random.default_rng(0).integers(-1024, 3000, (24, 31)).astype(np.int16)
XRAY = np.random.default_rng(1).integers(0, 4096, (24, 31)).astype(np.uint16)
RESCALED = {"RescaleSlope": 1.5, "RescaleIntercept": -1024}


@settings(max_examples=200, deadline=None)
@given(
    center=st.floats(-2000, 5000),
    width=st.floats(1, 6000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    slope=st.floats(0.1, 4),
    intercept=st.floats(-2000, 2000),
    bits=st.integers(9, 16),
    signed=st.booleans(),
)
def test_windows_are_pydicoms(center, width, function, slope, intercept, bits, signed):
    found = Dataset()
    found.WindowCenter, found.WindowWidth, found.VOILUTFunction = f"{center:.6g}", f"{width:.6g}", function
    found.RescaleSlope, found.RescaleIntercept = f"{slope:.6g}", f"{intercept:.6g}"
    found.BitsStored, found.PixelRepresentation = bits, int(signed)
    found.PhotometricInterpretation = "MONOCHROME2"
    stored = (np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1), 13) + (0 if signed else 2 ** (bits - 1))).astype(np.int32)
    values = apply_modality_lut(stored, found)
    theirs = apply_voi_lut(values, found)
    ends = sorted(float(found.RescaleSlope) * end + float(found.RescaleIntercept) for end in _stored(bits, signed))
    ours, voi = rendered_values(values.astype(np.float32), found)
    assert voi is Voi.WINDOW
    # Where a window is narrower than what float32 tells apart, its step may fall on the neighbouring value.
    near = np.abs(values - center) < 1e-2
    np.testing.assert_allclose(ours[~near], ((theirs - ends[0]) / (ends[1] - ends[0]))[~near], atol=2e-3)


def _stored(bits, signed):
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


@pytest.mark.parametrize("pixels", [CT, XRAY])
@pytest.mark.parametrize("kind", ["MONOCHROME2", "MONOCHROME1"])
def test_a_file_is_shown_by_its_first_window(pixels, kind):
    more = {"WindowCenter": [300, 40], "WindowWidth": [1500, 80], **RESCALED, "PhotometricInterpretation": kind}
    shown = read_dicom(dicom(pixels, bits=12 if pixels is XRAY else 16, **more), "1")
    wanted = np.clip((pixels * 1.5 - 1024 - 299.5) / 1499 + 0.5, 0, 1)
    wanted = 1 - wanted if kind == "MONOCHROME1" else wanted
    assert shown.voi is Voi.WINDOW and shown.pixels.dtype == np.uint8
    np.testing.assert_allclose(shown.pixels, wanted * 255, atol=0.51)


def test_a_table_of_values_goes_before_a_window():
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 16], [min(65535, k * 20) for k in range(4096)]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    shown = read_dicom(dicom(XRAY, bits=12, VOILUTSequence=Sequence([table]), WindowCenter=1, WindowWidth=2), "1")
    assert shown.voi is Voi.TABLE
    np.testing.assert_allclose(shown.pixels, np.minimum(65535, XRAY * 20.0) / 257, atol=0.51)


def test_without_a_window_all_that_the_bits_hold_is_shown_and_told():
    shown = read_dicom(dicom(XRAY, bits=12), "1")
    assert shown.voi is Voi.NONE
    np.testing.assert_allclose(shown.pixels, XRAY / 4095 * 255, atol=0.51)
    assert decode_image(dicom(XRAY, bits=12), "1").info["voi"] == "none"


def test_compressed_images_are_those_that_went_in():
    smooth = (np.add.outer(np.arange(40), np.arange(50)) * 2).astype(np.uint8)
    assert np.array_equal(read_dicom(compressed(smooth, "JPEG2000"), "1").pixels, smooth)
    assert np.abs(read_dicom(compressed(smooth, "JPEG"), "1").pixels.astype(int) - smooth).max() < 5
    deep = np.sort(XRAY, axis=1)
    shown = read_dicom(compressed(deep, "JPEG2000", WindowCenter=2048, WindowWidth=4096), "1")
    np.testing.assert_allclose(shown.pixels, deep / 4095 * 255, atol=1)


def test_colours_stay_and_16_bits_of_them_are_refused():
    colors = np.random.default_rng(2).integers(0, 256, (8, 9, 3)).astype(np.uint8)
    shown = read_dicom(dicom(colors), "1")
    assert shown.voi is Voi.COLOR and np.array_equal(shown.pixels, colors)
    with pytest.raises(UnsupportedFormat, match="RGB and YBR of 8 bits"):
        read_dicom(dicom(colors.astype(np.uint16)), "1")


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        (dicom(np.zeros((3, 4, 4), np.uint8)[0], NumberOfFrames=3), InputError, "3 frames"),
        (dicom(XRAY, Rows=60000, Columns=60000), UnsafeInput, "60000x60000"),
        (
            dicom(XRAY, syntax="1.2.840.10008.1.2.4.70", data=b"\xfe\xff\x00\xe0\0\0\0\0"),
            UnsupportedFormat,
            "JPEG Loss",
        ),
        (dicom(XRAY, syntax="1.2.840.10008.1.2.5", data=b"\xfe\xff\x00\xe0\0\0\0\0"), UnsupportedFormat, "RLE"),
        (dicom(XRAY, PhotometricInterpretation="PALETTE COLOR"), UnsupportedFormat, "something else"),
        (dicom(XRAY)[:-50], InputError, "truncated or corrupt"),
        (dicom(XRAY, WindowCenter=1, WindowWidth=0), InputError, "truncated or corrupt"),
        (b"\0" * 128 + b"DICM", InputError, "truncated or corrupt"),
    ],
)
def test_what_is_not_read_is_refused_by_its_name(data, kind, said):
    with pytest.raises(kind, match=f"image 2: .*{said}"):
        read_dicom(data, "image 2")


def test_a_compressed_image_larger_than_the_header_says_is_not_decoded():
    huge = BytesIO()
    Image.new("L", (3000, 3000)).save(huge, "JPEG")
    from pydicom.encaps import encapsulate

    data = dicom(np.zeros((8, 8), np.uint8), "1.2.840.10008.1.2.4.50", data=encapsulate([huge.getvalue()]))
    with pytest.raises(UnsafeInput, match="not as large"):
        read_dicom(data, "1")


def test_a_deflated_file_is_not_unpacked(monkeypatch):
    data = dicom(XRAY, syntax="1.2.840.10008.1.2.1.99")
    monkeypatch.setattr(zlib, "decompress", None)
    monkeypatch.setattr(zlib, "decompressobj", None)
    with pytest.raises(UnsupportedFormat, match="Deflated"):
        read_dicom(data, "1")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([dicom(XRAY, bits=12, WindowCenter=1, WindowWidth=9), compressed(CT.astype(np.uint8), "JPEG")]),
    st.lists(st.tuples(st.integers(132, 10**6), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 400),
)
def test_damaged_files_are_refused_without_a_word_of_the_header(data, changes, cut):
    broken = bytearray(data[: len(data) - cut])
    for place, value in changes:
        broken[132 + place % (len(broken) - 132)] = value
    try:
        read_dicom(bytes(broken), "image 1")
    except InputError as error:
        assert str(error).startswith("image 1: ") and not {"Zebedee", "4711", "1963"} & set(str(error).split())
        assert all(name not in str(error) for name in ("Zebedee", "4711", "19630212"))


def test_nothing_of_the_header_is_read_warned_of_or_logged(caplog, recwarn, monkeypatch):
    data = dicom(XRAY, bits=12).replace(b"19630212", b"Zebedee!")
    honest, read = pydicom.dcmread, []
    monkeypatch.setattr(pydicom, "dcmread", lambda *a, **more: read.append(honest(*a, **more)) or read[-1])
    read_dicom(data, "1")
    assert "Rows" in read[0] and not {"PatientName", "PatientID", "PatientBirthDate"} & set(read[0].dir())
    assert not [w for w in recwarn if "Zebedee" in str(w.message)] and "Zebedee" not in caplog.text
    assert PATIENT.encode() in data


def test_without_pydicom_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingExtra, match=r"primum\[medical\]"):
        read_dicom(dicom(XRAY), "1")


def test_a_mask_is_no_dicom_image():
    with pytest.raises(InputError, match="a mask is no DICOM"):
        class_map(decode_image(dicom(np.zeros((4, 4), np.uint8)), "mask 1"), "mask 1")


def test_windows_that_are_none():
    for function, width in (("LINEAR", 0.5), ("SIGMOID", 0.0), ("CUBIC", 5.0)):
        with pytest.raises(ValueError):
            windowed(np.zeros(1, np.float32), 0.0, width, function)
    assert primum.data.dicom.is_dicom(dicom(XRAY)) and not primum.data.dicom.is_dicom(b"\x89PNG")
