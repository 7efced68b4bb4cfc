import io
import os
import resource
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from primum.data.images import MAX_PIXELS, decode
from primum.errors import InputError, UnsafeInput

GREY = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7


def png_header(width, height):
    """A PNG of a few bytes whose header promises width x height grey pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")


def encoded(kind, mode="L", **options):
    picture = Image.fromarray(np.kron(GREY, np.ones((3, 3), np.uint8))).convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (9_000, 9_000), (1, 64_000_001)])
def test_a_huge_header_is_refused_before_a_pixel_is_decoded(width, height):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnsafeInput, match=r"bomb\.png.*not decoded"):
        decode(png_header(width, height), "bomb.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, "KiB"


def test_the_cap_is_on_pixels_not_on_pillows_own_limit(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(UnsafeInput):
        decode(png_header(60_000, 60_000), "bomb.png")
    assert MAX_PIXELS > 430 * 350 * 100, "a 43x35 cm plate at 100 um passes"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6])
def test_a_truncated_file_is_named(kind, share):
    data = encoded(kind)
    with pytest.raises(InputError, match=r"^scan\.img: ") as caught:
        decode(data[: int(len(data) * share)], "scan.img")
    assert not isinstance(caught.value, UnsafeInput)


@pytest.mark.parametrize("data", [b"", b"case,label\n1,0\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", os.urandom(4000)])
def test_a_text_file_named_png_and_other_non_images(data):
    with pytest.raises(InputError, match=r"scan\.png"):
        decode(data, "scan.png")


VALID = {kind: encoded(kind) for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000")} | {
    "EXIF": encoded("JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00")
}


@pytest.mark.parametrize("kind", sorted(VALID))
@given(data=st.data())
@settings(deadline=None, max_examples=120)
def test_whatever_the_bytes_the_answer_is_an_image_or_an_input_error(kind, data):
    raw = bytearray(VALID[kind])
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=6)):
        raw[at] = value
    raw = raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw
    try:
        picture = decode(bytes(raw), "x")
    except InputError as error:
        assert str(error).startswith("x: ")
    else:
        assert 0 < picture.width * picture.height <= MAX_PIXELS


def test_no_program_is_started_for_a_postscript_file_that_calls_itself_png(tmp_path, monkeypatch):
    marker = tmp_path / "ghostscript-ran"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {marker}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(InputError, match="not an image"):
        decode(eps, "scan.png")
    assert not marker.exists()


STORED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: np.rot90,
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_is_applied(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(STORED[orientation](GREY))).save(buffer, "PNG", exif=exif)
    assert np.array_equal(np.asarray(decode(buffer.getvalue(), "x")), GREY)


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "P"), ("PNG", "RGBA"), ("PNG", "1"), ("PNG", "LA"), ("JPEG", "CMYK"), ("TIFF", "CMYK")]
)
def test_other_modes_keep_their_size_and_their_mode(kind, mode):
    picture = decode(encoded(kind, mode), "x")
    assert picture.mode == mode and picture.size == (21, 15)


def test_sixteen_bit_png_keeps_its_values():
    wide = np.array([[0, 255, 256], [1000, 40_000, 65_535]], np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(wide).save(buffer, "PNG")
    assert np.array_equal(np.asarray(decode(buffer.getvalue(), "x")).astype(np.int64), wide)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "PNG", "WEBP"])
def test_several_frames_are_refused_for_none_of_them_is_the_image(kind):
    frames = [Image.fromarray(np.roll(np.kron(GREY, np.ones((3, 3), np.uint8)), k)) for k in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"^scan\.img: the file holds several images; give one image a file$"):
        decode(buffer.getvalue(), "scan.img")
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True)
    assert decode(buffer.getvalue(), "scan.img").size == (21, 15)


def test_of_a_photograph_with_a_second_image_beside_it_the_primary_is_read():
    """JPEG files of cameras (MPO) say which image is theirs."""
    frames = [Image.new("L", (21, 15), shade) for shade in (200, 20)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "MPO", save_all=True, append_images=frames[1:])
    assert abs(int(np.asarray(decode(buffer.getvalue(), "x"))[3, 3]) - 200) < 3
