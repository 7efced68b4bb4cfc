import numpy as np
import pytest

from primum.artifact.golden import NAME, RAW_TOLERANCE, TOLERANCE, replay, write_golden
from primum.data.preprocessing_array import ArrayPreprocessing
from primum.data.preprocessing_table import TablePreprocessing
from primum.errors import IntegrityError
from primum.models.signature import Signature
from primum.runtimes.base import PRECISIONS
from primum.task import Task


def test_replay_passes_on_the_same_graph(tmp_path, predictor):
    write_golden(tmp_path, predictor())
    got = replay(tmp_path, predictor())
    assert got.passed and got.cases == 8 and got.max_difference == 0.0 and got.tolerance == TOLERANCE["fp32"]
    with np.load(tmp_path / NAME) as arrays:
        low, high = predictor().manifest.preprocessing.value_range()
        assert arrays["inputs"].min() >= low and arrays["inputs"].max() <= high
        assert np.array_equal(arrays["probabilities"], predictor().predict_tensor(arrays["inputs"]))


@pytest.mark.parametrize(("precision", "passed"), [("fp32", False), ("int8", True)])
def test_the_tolerance_is_that_of_the_precision(tmp_path, predictor, precision, passed):
    write_golden(tmp_path, predictor())
    other = predictor(target={"precision": precision})
    run = other.session.run
    other.session.run = lambda batch: run(batch) + np.float32(0.02)
    got = replay(tmp_path, other)
    assert got.passed is passed and 1e-4 < got.max_difference < 0.03


def test_every_precision_that_can_be_sealed_can_be_verified():
    assert set(TOLERANCE) == set(RAW_TOLERANCE) == set(PRECISIONS)


@pytest.mark.parametrize("damage", [lambda raw: raw * 0, lambda raw: raw * np.nan, lambda raw: -raw])
def test_replay_fails_on_another_graph(tmp_path, predictor, damage):
    write_golden(tmp_path, predictor())
    other = predictor()
    run = other.session.run
    other.session.run = lambda batch: damage(run(batch))
    assert not replay(tmp_path, other).passed


def test_one_wrong_case_of_eight_is_enough(tmp_path, predictor):
    write_golden(tmp_path, predictor())
    other = predictor()
    run = other.session.run
    other.session.run = lambda batch: run(batch) + np.eye(8, 1, -3, dtype=np.float32)
    assert not replay(tmp_path, other).passed


def test_without_golden_vectors_nothing_is_verified(tmp_path, predictor):
    with pytest.raises(IntegrityError, match="cannot be verified"):
        replay(tmp_path, predictor())


def test_a_precision_of_another_release_is_an_integrity_error(tmp_path, predictor):
    write_golden(tmp_path, predictor())
    with pytest.raises(IntegrityError, match="int2"):
        replay(tmp_path, predictor(target={"precision": "int2"}))


def test_golden_vectors_hold_no_pickle(tmp_path, predictor):
    np.savez(tmp_path / NAME, inputs=np.array([object()]), probabilities=np.zeros(1))
    with pytest.raises(IntegrityError, match=NAME):
        replay(tmp_path, predictor())


def test_saturated_probabilities_do_not_hide_changed_logits(tmp_path, predictor):
    sure = predictor()
    run = sure.session.run
    sure.session.run = lambda batch: run(batch) * 0 + np.float32(20)
    write_golden(tmp_path, sure)
    other = predictor()
    other.session.run = lambda batch: run(batch) * 0 + np.float32(14)
    got = replay(tmp_path, other)
    assert got.max_difference < TOLERANCE["fp32"] and got.raw_difference == pytest.approx(0.3) and not got.passed


@pytest.mark.parametrize(
    ("preprocessing", "shape"),
    [
        (TablePreprocessing.model_validate({"columns": [{"name": "s", "levels": ["F", "M"]}, {"name": "x"}]}), (3,)),
        (ArrayPreprocessing(add_channel=True), (1, 40)),
    ],
)
def test_golden_inputs_of_tables_and_arrays(tmp_path, predictor, preprocessing, shape):
    signature = Signature(input_shape=shape, outputs=1, classes=("v",), task=Task.REGRESSION, activation="identity")
    chosen = predictor(preprocessing=preprocessing, signature=signature)
    write_golden(tmp_path, chosen)
    assert replay(tmp_path, chosen).passed
    with np.load(tmp_path / NAME) as arrays:
        assert arrays["inputs"].shape == (8, *shape) and len(np.unique(arrays["inputs"], axis=0)) > 1
