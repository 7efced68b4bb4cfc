"""What a case is known by: what its file decodes to, not how it was written down."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from primum.data.content import content_digest
from primum.data.images import decode
from primum.data.sources import FolderSource, TableSource
from primum.errors import InputError


def saved(image: Image.Image, **how: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, **{"format": "PNG", **how})
    return decode(buffer.getvalue(), "x.png")


@pytest.fixture
def grey() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7), dtype=np.uint8))


def test_an_image_saved_again_is_the_same(grey):
    one = content_digest(saved(grey))
    assert len(one) == 16 and int(one, 16) >= 0
    assert one == content_digest(saved(grey, compress_level=0)) == content_digest(saved(grey, format="TIFF"))
    assert one == content_digest(saved(grey, format="BMP")) == content_digest(saved(grey.convert("RGB")))
    assert one == content_digest(saved(grey.convert("RGBA"))) == content_digest(saved(grey.convert("P")))


def test_other_pixels_shapes_and_depths_are_other_cases(grey):
    pixels = np.asarray(grey).copy()
    pixels[0, 0] ^= 1
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16))
    coloured = grey.convert("RGB")
    coloured.putpixel((0, 0), (1, 2, 3))
    clear = grey.convert("RGBA")
    clear.putpixel((0, 0), (*grey.convert("RGB").getpixel((0, 0)), 9))
    others = [Image.fromarray(pixels), Image.fromarray(np.asarray(grey).reshape(7, 9)), deep, coloured, clear]
    assert len({content_digest(saved(image)) for image in (grey, *others)}) == 6


def test_a_number_written_otherwise_is_the_same():
    def row(cell: str, sex: str = "M") -> str:
        return content_digest({"age": cell, "sex": sex})

    assert row("0.5") == row("0.50") == row("5e-1") == row("+.5") and row("0") == row("-0.0") == row("00")
    assert len({row("0.5"), row("0.51"), row(""), row("nan"), row("0.5", "F"), row("1_0"), row("10")}) == 7
    assert content_digest({"age": "1", "sex": "2"}) != content_digest({"age": "2", "sex": "1"})
    assert content_digest({"b": "1", "a": "2"}) == content_digest({"a": "2", "b": "1"})


@given(st.floats(allow_nan=False, width=64), st.integers(0, 2**24))
def test_an_export_as_float32_is_the_same(value, whole):
    with np.errstate(over="ignore"):
        narrow = np.float32(value)
    if np.isfinite(narrow):
        assert content_digest({"Age": repr(value)}) == content_digest({"age": repr(float(narrow))})
        assert content_digest(np.array([value, whole])) == content_digest(np.array([value, whole], dtype=np.float32))
        above = np.nextafter(narrow, np.float32(np.inf))
        if np.isfinite(above):
            assert content_digest({"age": repr(float(above))}) != content_digest({"age": repr(value)})


def test_numbers_beyond_float32_stay_apart():
    assert content_digest({"x": "1e39"}) != content_digest({"x": "1e40"})
    assert content_digest(np.array([1e39])) != content_digest(np.array([1e40]))
    assert content_digest(np.array([1e39])) != content_digest(np.array([np.inf]))


def test_a_column_is_known_by_letters_and_digits():
    assert content_digest({"Age (years)": "1"}) == content_digest({"age_years": "1.0"})
    assert content_digest({"a": "1", "A": "2"}) == content_digest({"A": "2", "a": "1"})
    assert content_digest({"%": "1"}) != content_digest({"#": "1"})


def test_arrays_are_known_by_shape_and_values_however_they_are_stored():
    values = np.arange(6, dtype=np.float32)
    values[1] = np.nan
    assert content_digest(values) == content_digest(values.astype(">f4")) == content_digest(values.astype(np.float64))
    whole = np.arange(6)
    assert content_digest(whole) == content_digest(whole.astype(np.uint8)) == content_digest(whole.astype(np.float16))
    assert content_digest(whole) == content_digest(whole[None, :, None]) == content_digest(-1.0 * -whole)
    others = [whole.reshape(2, 3), whole.reshape(3, 2), whole + 1, whole + 2**23, whole + 2**23 + 1, whole * 0.1]
    assert len({content_digest(one) for one in (whole, *others)}) == 7


def test_an_unreadable_file_has_no_digest(tree):
    with pytest.raises(InputError, match="image 1 of 1"):
        content_digest(FolderSource(tree({"a.png": b"hello"}), ("a.png",)).item(0))
    assert content_digest(TableSource({"x": ["1"]}, ["row 1"]).item(0)) == content_digest({"x": "1.0"})
