import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from primum.data.preprocessing_array import ArrayPreprocessing
from primum.errors import InputError


@given(arrays(np.int16, st.tuples(st.integers(1, 3), st.integers(1, 9))))
@settings(deadline=None)
def test_values_are_scaled_then_normalised(raw):
    got = ArrayPreprocessing(scale=0.005, mean=(0.5,), std=(2.0,))(raw)
    np.testing.assert_allclose(got, (raw * 0.005 - 0.5) / 2.0, rtol=1e-5, atol=1e-5)
    assert got.shape == raw.shape and got.dtype == np.float32 and got.flags.c_contiguous


def test_a_channel_is_put_in_front():
    assert ArrayPreprocessing(add_channel=True, shape=(280,))(np.zeros(280)).shape == (1, 280)


def test_each_channel_has_its_own_mean_and_std():
    chosen = ArrayPreprocessing(mean=(1.0, 2.0), std=(1.0, 4.0))
    assert chosen(np.full((2, 3), 6.0)).tolist() == [[5.0] * 3, [1.0] * 3]
    for shape in [(3, 2), (1, 2), (4,), ()]:
        with pytest.raises(InputError, match="other channels"):
            chosen(np.zeros(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(bad):
    with pytest.raises(InputError, match="NaN or infinite"):
        ArrayPreprocessing()(np.array([0.0, bad]))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (np.array([object()]), "must hold numbers"),
        (np.array(["1", "2"]), "must hold numbers"),
        (np.zeros(3, complex), "must hold numbers"),
        ([[1.0, 2.0], [3.0]], "one length"),
        ("patient.npy", "must hold numbers"),
        (None, "must hold numbers"),
        ({"x": 1}, "must hold numbers"),
        (np.zeros(281), r"\(281,\), the preprocessing says \(280,\)"),
    ],
)
def test_what_is_no_array_of_that_shape_is_refused(item, message):
    with pytest.raises(InputError, match=message):
        ArrayPreprocessing(shape=(280,))(item)


@pytest.mark.parametrize(
    "bad",
    [{"scale": 0}, {"std": 0}, {"std": [1, -1]}, {"mean": []}, {"std": []}, {"shape": [0]}, {"mean": float("inf")}],
)
def test_declarations_that_make_no_sense(bad):
    with pytest.raises(ValidationError):
        ArrayPreprocessing.model_validate(bad)


def test_one_number_is_enough_and_json_gives_back_an_equal_value():
    chosen = ArrayPreprocessing.model_validate({"mean": 1, "std": 2, "shape": [3, 4]})
    assert (chosen.mean, chosen.std, chosen.shape) == ((1.0,), (2.0,), (3, 4))
    assert ArrayPreprocessing.model_validate_json(chosen.model_dump_json()) == chosen


def test_invented_inputs_reach_three_standard_deviations():
    got = ArrayPreprocessing().synthetic(8, (1, 280))
    assert got.shape == (8, 1, 280) and -3 <= got.min() < -2 and 2 < got.max() <= 3
