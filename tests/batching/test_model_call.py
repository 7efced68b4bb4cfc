"""What an input becomes, and whose each output is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primum.batching.bucket import array_bucket, bucket_of
from primum.batching.model_call import ArrayCall, ListCall, call_of
from primum.batching.request import Item
from primum.errors import InputError, OutputCountError


def items_of(call, values):
    prepared = [call.prepare(value) for value in values]
    return [Item(k, p.payload, bucket=p.bucket, cost=p.cost) for k, p in enumerate(prepared)]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.booleans())
def test_rows_go_back_to_whose_they_are(sizes, with_single):
    call = ArrayCall(lambda batch: batch * 2)
    pieces = [call.split(np.arange(n * 2.0).reshape(n, 2) + 100 * k, n)[0] for k, n in enumerate(sizes)]
    if with_single:
        pieces.append(call.prepare(np.array([7.0, 8.0])))
    items = [Item(k, p.payload, cost=p.cost) for k, p in enumerate(pieces)]
    shares = call.share(items, call.call(call.gather(items)))
    for share, item in zip(shares, items):
        expected = 2 * item.payload.rows
        assert np.array_equal(share, expected[0] if item.payload.one else expected)


def test_many_cases_are_split_in_order():
    call = ArrayCall(lambda batch: batch)
    pieces = call.split(np.arange(10), 4)
    assert [p.cost for p in pieces] == [4, 4, 2]
    assert np.array_equal(np.concatenate([p.payload.rows for p in pieces]), np.arange(10))
    with pytest.raises(InputError, match="at least one row"):
        call.split(np.zeros((0, 3)), 4)


def test_a_predictor_checks_each_input_before_it_joins():
    class Predictor:
        def checked(self, batch):
            if batch.shape[1:] != (3,):
                raise InputError("expected (N, 3)")
            return np.ascontiguousarray(batch, dtype=np.float32)

        def predict_tensor(self, batch):
            return batch

    call = call_of(Predictor())
    assert call.prepare([1, 2, 3]).bucket == array_bucket(np.dtype(np.float32), (3,))
    with pytest.raises(InputError, match=r"expected \(N, 3\)"):
        call.prepare([1, 2])


def test_ways_of_calling():
    class Model:
        def predict_batch(self, batch):
            return batch

    assert isinstance(call_of(Model()), ListCall)
    assert isinstance(call_of(lambda batch: batch), ListCall)
    assert isinstance(call_of(lambda batch: batch, stacked=True), ArrayCall)

    class Awaited:
        async def __call__(self, batch):
            return batch

    assert call_of(Awaited()).is_async and not call_of(Model()).is_async


@pytest.mark.parametrize("outputs", [[1], [1, 2, 3], "ab", {0: 1, 1: 2}, 5, None])
def test_outputs_that_cannot_be_told_apart_are_refused(outputs):
    call = ListCall(lambda batch: batch)
    with pytest.raises(OutputCountError):
        call.share(items_of(call, [1, 2]), outputs)


def test_a_generator_of_outputs_will_do():
    call = ListCall(lambda batch: batch)
    assert list(call.share(items_of(call, [1, 2]), (x for x in "ab"))) == ["a", "b"]


class Tensor:
    """As torch's: a shape and a dtype, and no array."""

    def __init__(self, shape, dtype="torch.float32"):
        self.shape, self.dtype = shape, dtype


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros((1, 2)), np.zeros((1, 4))),
        (np.zeros(2), np.zeros(2, dtype=np.float32)),
        (Tensor((1, 2)), Tensor((2, 1))),
        ({"a": 1}, {"b": 1}),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}),
        ("text", 1),
        ([[1, 2]], [[1, 2, 3]]),
    ],
)
def test_unequal_names_dtypes_or_shapes_are_unequal_buckets(one, other):
    assert bucket_of(one) != bucket_of(other)
    assert hash(bucket_of(one)) != hash(bucket_of(other))


def test_equal_shapes_share_a_bucket_whatever_their_values():
    assert bucket_of({"age": 61, "bp": [120, 80]}) == bucket_of({"bp": [1.5, 2.5], "age": 4.5})
    assert bucket_of(np.zeros(3)) == bucket_of(np.ones(3))
    assert bucket_of([]) == bucket_of(())
