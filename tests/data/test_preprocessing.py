import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from primum.data.preprocessing import Preprocessing
from primum.errors import InputError

FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}
sides = st.integers(1, 40)
seeds = st.integers(0, 2**31)


def pixels(seed, height, width, color):
    shape = (height, width) if color == "grey" else (height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@st.composite
def settings_of(draw, color=None):
    color = color or draw(st.sampled_from(["grey", "rgb"]))
    width = draw(st.sampled_from([1, 1 if color == "grey" else 3]))
    size = draw(st.none() | st.tuples(sides, sides))
    side = st.integers(1, 5)
    return Preprocessing(
        color=color,
        size=size,
        interpolation=draw(st.sampled_from(sorted(FILTERS))),
        crop=draw(st.none() | st.tuples(side, side)) if size and min(size) >= 5 else None,
        scale=draw(st.none() | st.floats(1e-4, 10)),
        mean=tuple(draw(st.lists(st.floats(-3, 3), min_size=width, max_size=width))),
        std=tuple(draw(st.lists(st.floats(0.05, 4), min_size=width, max_size=width))),
    )


@given(settings_of(), seeds, sides, sides)
@settings(deadline=None, max_examples=150)
def test_the_same_numbers_as_pillow_and_numpy(chosen, seed, height, width):
    raw = pixels(seed, height, width, chosen.color)
    picture = Image.fromarray(raw)
    if chosen.size:
        picture = picture.resize(chosen.size[::-1], FILTERS[chosen.interpolation])
    plain = np.asarray(picture)
    if chosen.crop:
        top, left = (round((have - want) / 2.0) for have, want in zip(plain.shape, chosen.crop))
        plain = plain[top : top + chosen.crop[0], left : left + chosen.crop[1]]
    plain = plain.reshape(*plain.shape[:2], -1)
    scale = np.float32(1 / 255 if chosen.scale is None else chosen.scale)
    expected = (plain.astype(np.float32) * scale - np.float32(chosen.mean)) / np.float32(chosen.std)
    got = chosen(raw)
    np.testing.assert_array_equal(got, np.moveaxis(expected, 2, 0))
    np.testing.assert_array_equal(got, chosen(Image.fromarray(raw)))
    assert got.dtype == np.float32 and got.flags.c_contiguous and got.shape[0] == chosen.channels


@given(settings_of(), seeds, st.integers(5, 30), st.integers(5, 30))
@settings(deadline=None, max_examples=80)
def test_every_value_of_an_8_bit_image_lies_in_the_range(chosen, seed, height, width):
    got = chosen(pixels(seed, height, width, chosen.color))
    low, high = chosen.value_range()
    slack = 1e-5 * max(abs(low), abs(high), 1.0)
    assert low - slack <= got.min() and got.max() <= high + slack


@given(settings_of())
@settings(deadline=None, max_examples=60)
def test_the_range_is_reached_by_black_or_white(chosen):
    shape = (9, 9) if chosen.color == "grey" else (9, 9, 3)
    ends = np.concatenate([chosen(np.full(shape, v, np.uint8)).ravel() for v in (0, 255)])
    assert (ends.min(), ends.max()) == pytest.approx(chosen.value_range(), rel=1e-5, abs=1e-5)


@given(settings_of())
@settings(deadline=None, max_examples=80)
def test_json_gives_back_an_equal_object(chosen):
    assert Preprocessing.model_validate_json(chosen.model_dump_json()) == chosen


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_sixteen_bits_are_not_clipped(mode):
    raw = np.array([[0, 255, 256, 300], [1000, 30_000, 65_000, 65_535]], np.uint16)
    picture = Image.fromarray(raw.astype(np.int32)) if mode == "I" else Image.fromarray(raw)
    if mode == "I;16B":
        picture = Image.frombytes("I;16B", (4, 2), raw.astype(">u2").tobytes())
    assert picture.mode == mode
    got = Preprocessing()(picture)
    np.testing.assert_allclose(got[0] * 65535, raw, rtol=1e-6)
    assert got.dtype == np.float32 and len(np.unique(got)) == raw.size


def test_sixteen_bit_arrays_resize_like_floats():
    raw = np.random.default_rng(0).integers(0, 65_536, (20, 30), dtype=np.uint16)
    resized = Image.fromarray(raw.astype(np.float32)).resize((7, 9), Image.Resampling.BILINEAR)
    got = Preprocessing(size=(9, 7))(raw)
    np.testing.assert_allclose(got[0], np.asarray(resized) / 65535, rtol=1e-6)
    assert got.max() > 255 / 65535


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_every_8_bit_mode_becomes_what_the_network_takes(mode, color):
    raw = np.linspace(0, 255, 48).reshape(6, 8).astype(np.uint8)
    picture = Image.fromarray(raw).convert(mode)
    got = Preprocessing(color=color)(picture)
    expected = np.asarray(picture.convert("L" if color == "grey" else "RGB"), np.float32) / 255
    np.testing.assert_allclose(got, np.moveaxis(np.atleast_3d(expected), 2, 0), atol=1e-6)


def test_transparency_is_dropped_not_blended():
    clear = Image.new("RGBA", (3, 3), (200, 100, 50, 0))
    np.testing.assert_allclose(Preprocessing(color="rgb")(clear)[:, 0, 0] * 255, [200, 100, 50], rtol=1e-6)


@pytest.mark.parametrize(
    ("have", "want", "first"), [((5, 6), (2, 2), (2, 2)), ((7, 9), (2, 4), (2, 2)), ((4, 4), (4, 4), (0, 0))]
)
def test_the_centre_crop_is_torchvisions(have, want, first):
    """torchvision rounds half to even: a crop of 2 out of 5 starts at 2, of 2 out of 7 at 2 too."""
    raw = (np.arange(have[0])[:, None] * 16 + np.arange(have[1])).astype(np.uint8)
    got = Preprocessing(crop=want, scale=1.0)(raw)
    assert got.shape == (1, *want) and divmod(int(got[0, 0, 0]), 16) == first


def test_mean_and_std_apply_by_channel():
    raw = np.full((2, 2, 3), 51, np.uint8)
    got = Preprocessing(color="rgb", mean=(0.1, 0.2, 0.3), std=(1, 2, 4))(raw)
    np.testing.assert_allclose(got[:, 0, 0], [0.1, 0.0, -0.025], atol=1e-7)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((4, 4), object),
    ],
    ids=lambda a: f"{a.shape}{a.dtype}",
)
def test_arrays_that_are_no_image_are_refused(array):
    with pytest.raises(InputError, match="image array"):
        Preprocessing(color="grey", size=(4, 4))(array)


@pytest.mark.parametrize("mode", ["LAB", "La"])
def test_a_mode_without_a_conversion_is_an_input_error(mode):
    with pytest.raises(InputError, match=mode):
        Preprocessing()(Image.new(mode, (4, 4)))


def test_wide_images_need_grey_and_floating_point_ones_a_scale():
    with pytest.raises(InputError, match="color: grey"):
        Preprocessing(color="rgb")(Image.new("I;16", (4, 4)))
    unit = Image.new("F", (4, 4), 0.5)
    with pytest.raises(InputError, match="scale"):
        Preprocessing()(unit)
    assert Preprocessing(scale=2.0)(unit).max() == 1.0


def test_an_image_smaller_than_the_crop_says_so():
    with pytest.raises(InputError, match=r"4x9 is smaller than the crop 5x5"):
        Preprocessing(crop=(5, 5))(np.zeros((4, 9), np.uint8))


BAD = {
    "size: 64": "size",
    "size: [64]": "size",
    "size: [0, 64]": "between 1 and 8192",
    "size: [64.5, 64]": "size",
    "size: [99999, 64]": "between 1 and 8192",
    "size: [64, 64]\ncrop: [65, 64]": "crop",
    "interpolation: cubic": "interpolation must be one of",
    "color: RGB": "color",
    "colour: grey": "colour",
    "scale: 0": "scale",
    "scale: .inf": "scale",
    "scale: .nan": "scale",
    "std: 0": "std",
    "std: .nan": "std",
    "mean: .inf": "mean",
    "mean: []": "mean needs one number",
    "mean: [1, 2, 3]": "mean needs one number",
    "mean: abc": "mean",
    "mean: ~": "mean",
    "[]": "value",
    "0": "value",
    "- a": "value",
    "1: 2": "1",
    "a: [": "not valid",
    "? [1]\n: 2": "not valid",
    "size: 2024-13-45": "not valid",
    "size: 0x_": "not valid",
    "!!python/object/apply:os.getcwd []": "not valid",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_file_gives_one_clear_line(tmp_path, text):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Preprocessing.from_file(path)
    message = str(caught.value)
    assert BAD[text] in message and "p.yaml" in message and "\n" not in message


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=4), st.lists, max_leaves=4))
@settings(deadline=None, max_examples=100)
def test_whatever_a_field_holds_it_is_refused_or_finite(value):
    for name in Preprocessing.model_fields:
        try:
            chosen = Preprocessing.model_validate({name: value})
        except ValidationError:
            continue
        assert np.isfinite([*chosen.mean, *chosen.std, chosen.scale or 1.0]).all() and min(chosen.std) > 0


def test_bytes_that_are_no_text_a_folder_and_a_missing_file(tmp_path):
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00size")
    for name in ("b.yaml", ".", "none.yaml"):
        with pytest.raises(InputError):
            Preprocessing.from_file(tmp_path / name)


def test_a_good_file_and_an_empty_one(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("color: rgb\nsize: [8, 9]\nmean: 0.5\nstd: [0.1, 0.2, 0.3]\n")
    assert Preprocessing.from_file(path) == Preprocessing(color="rgb", size=(8, 9), mean=(0.5,), std=(0.1, 0.2, 0.3))
    path.write_text("# nothing\n")
    assert Preprocessing.from_file(path) == Preprocessing()


@given(st.integers(4, 20), st.integers(4, 20), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_a_mask_is_placed_as_its_image_and_no_class_is_blended(height, width, seed):
    mask = np.where(np.random.default_rng(seed).random((height, width)) < 0.5, np.uint8(0), np.uint8(200))
    chosen = Preprocessing(size=(9, 7), crop=(5, 5), interpolation="nearest", scale=1.0)
    got = chosen.mask(mask)
    assert np.array_equal(got, chosen(mask)[0]) and got.dtype == np.uint8
    assert set(np.unique(Preprocessing(size=(9, 7)).mask(mask))) <= {0, 200}
    assert np.array_equal(Preprocessing().mask(mask), mask)
