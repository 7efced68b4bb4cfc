import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from primum.data.images import decode
from primum.data.masks import class_map, indexed, nearest
from primum.errors import InputError

CLASSES = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return decode(buffer.getvalue(), "m.png")


def palette():
    coloured = Image.new("P", (3, 2))
    coloured.putdata(CLASSES.ravel().tolist())
    coloured.putpalette([0, 0, 0, 200, 10, 10, 10, 10, 200])
    return coloured


def test_grey_values_palette_indices_and_arrays_are_the_classes():
    for item in (png(Image.fromarray(CLASSES)), png(palette()), CLASSES, CLASSES.astype(np.int64)):
        got = class_map(item, "m.png")
        assert np.array_equal(got, CLASSES) and got.dtype == np.uint8
    wide = png(Image.fromarray(CLASSES.astype(np.uint16)))
    assert np.array_equal(class_map(wide, "m.png"), CLASSES)
    assert class_map(png(Image.fromarray(CLASSES > 0)), "m.png").tolist() == (CLASSES > 0).astype(int).tolist()


@pytest.mark.parametrize(
    "item",
    [
        Image.new("RGB", (2, 2)),
        Image.new("RGBA", (2, 2)),
        Image.fromarray(np.full((2, 2), 300, np.uint16)),
        np.array([[-1, 0]]),
        np.array([[0.5, 1.0]]),
        np.array([[256]]),
    ],
)
def test_what_is_no_mask_is_refused_by_name(item):
    with pytest.raises(InputError, match=r"m/7\.png: a mask"):
        class_map(item, "m/7.png")


def test_of_two_classes_the_second_may_be_white():
    white = np.array([[0, 255]], np.uint8)
    assert indexed(white, 2, "m").tolist() == [[0, 1]]
    assert indexed(np.array([[0, 1]], np.uint8), 2, "m").tolist() == [[0, 1]]
    assert indexed(np.full((1, 2), 255, np.uint8), 2, "m").tolist() == [[1, 1]]
    with pytest.raises(InputError, match="class 255, the model gives classes 0 to 2"):
        indexed(white, 3, "m")
    with pytest.raises(InputError, match="class 255"):
        indexed(np.array([[0, 1, 255]], np.uint8), 2, "m")
    with pytest.raises(InputError, match="class 3"):
        indexed(np.array([[3]], np.uint8), 3, "m")


def on_an_edge(old, new):
    """New pixels whose centre lies between two old pixels: neither is nearer."""
    return (2 * np.arange(new) + 1) * old % (2 * new) == 0


@given(st.integers(1, 17), st.integers(1, 17), st.integers(1, 17), st.integers(1, 17), st.integers(0, 99))
@settings(deadline=None)
def test_nearest_is_pillows(height, width, tall, wide, seed):
    mask = np.random.default_rng(seed).integers(0, 5, (height, width), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(mask).resize((wide, tall), Image.Resampling.NEAREST))
    clear = np.ix_(~on_an_edge(height, tall), ~on_an_edge(width, wide))
    assert np.array_equal(nearest(mask, (tall, wide))[clear], expected[clear])


def test_nearest_takes_any_number_of_axes():
    signal, volume = np.array([1, 2, 3, 4]), np.arange(8).reshape(2, 2, 2)
    assert nearest(signal, (2,)).tolist() == [2, 4]
    assert nearest(volume, (2, 2, 4))[0, 0].tolist() == [0, 0, 1, 1]
