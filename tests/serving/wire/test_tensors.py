"""Tensors of the protocol, there and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from primum.errors import InputError
from primum.serving.wire.tensors import DTYPES, checked_shape, datatype_of, from_bytes, from_json, to_bytes

arrays = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: hnp.arrays(
        DTYPES[name],
        hnp.array_shapes(max_dims=3, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False} if DTYPES[name].kind == "f" else None,
    )
)


@settings(deadline=None)
@given(arrays)
def test_raw_bytes_give_the_tensor_back(array):
    name = datatype_of(array)
    np.testing.assert_array_equal(from_bytes("x", name, array.shape, to_bytes(array)), array)


@settings(deadline=None)
@given(arrays.filter(lambda a: a.dtype != np.float16), st.booleans())
def test_json_data_nested_or_flat_are_the_same_tensor(array, flat):
    data = array.ravel().tolist() if flat else array.tolist()
    found = from_json("x", datatype_of(array), array.shape, data)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_large_and_small_integers_stay_exact_beside_one_another():
    data = [0, 2**63, 2**64 - 1]
    assert from_json("x", "UINT64", (3,), data).tolist() == data
    assert from_json("x", "UINT64", (1, 3), [data]).tolist() == [data]
    for odd in ([0.5, 2**63], [-1, 2**63], [0, 2**64]):
        with pytest.raises(InputError):
            from_json("x", "UINT64", (2,), odd)


def test_bytes_are_little_endian_and_row_major():
    assert to_bytes(np.array([[1, 2], [3, 4]], ">i2").T) == b"\x01\x00\x03\x00\x02\x00\x04\x00"
    assert to_bytes(np.array([True, False])) == b"\x01\x00"


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "said"),
    [
        ("FP32", (2,), [1.0], "1 values do not fill"),
        ("FP32", (2, 2), [[1.0], [2.0], [3.0], [4.0]], "nested as"),
        ("FP32", (2,), [1.0, [2.0]], "ragged"),
        ("FP32", (1,), ["a"], "text or mixed"),
        ("FP32", (1,), [None], "text or mixed"),
        ("FP32", (1,), [True], "bool"),
        ("FP32", (1,), [1e300], "too large"),
        ("INT64", (1,), [True], "bool"),
        ("INT64", (1,), [1.5], "float64"),
        ("UINT8", (1,), [256], "outside UINT8"),
        ("UINT8", (1,), [-1], "outside UINT8"),
        ("INT8", (1,), [10**30], "text or mixed"),
        ("BOOL", (1,), [1], "int64"),
        ("FP16", (1,), [1.0], "no form in JSON"),
        ("FLOAT", (1,), [1.0], "not one of"),
        ("BYTES", (1,), ["a"], "not one of"),
    ],
)
def test_data_that_do_not_fit_are_refused_by_name(datatype, shape, data, said):
    with pytest.raises(InputError, match=said):
        from_json("pixels", datatype, shape, data)


@pytest.mark.parametrize("shape", [[], [0], [-1, 3], [2.0], [True], ["2"], [1] * 17, [2**62], [10**5000, 2]])
def test_odd_shapes_are_refused(shape):
    with pytest.raises(InputError, match="input 'x'"):
        checked_shape("x", shape)


@pytest.mark.parametrize("size", [0, 3, 5, 8])
def test_a_wrong_number_of_bytes_is_refused(size):
    with pytest.raises(InputError, match=f"{size} bytes, but"):
        from_bytes("x", "FP32", (1,), b"\0" * size)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_raw_values_that_are_not_finite_are_refused(datatype, odd):
    array = np.ones((3, 5), DTYPES[datatype])
    array[1, 2] = odd
    with pytest.raises(InputError, match="input 'x': a value is too large for FP\\d\\d, or not finite"):
        from_bytes("x", datatype, array.shape, array.tobytes())


def test_the_largest_raw_values_are_taken():
    array = np.array([np.finfo(np.float32).max, np.finfo(np.float32).min], np.float32)
    assert from_bytes("x", "FP32", (2,), array.tobytes()).tolist() == array.tolist()
