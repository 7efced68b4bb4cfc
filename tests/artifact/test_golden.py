import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primum.artifact.golden import NAME, TOLERANCE, golden_inputs, replay, write_golden
from primum.errors import IntegrityError

shapes = st.tuples(st.sampled_from([1, 3]), st.integers(1, 12), st.integers(1, 12))


@given(shapes, st.floats(-5, 5, width=32), st.floats(0, 9, width=32), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_golden_inputs_are_deterministic_and_within_range(shape, low, span, seed):
    high = low + span
    one = golden_inputs(shape, low, high, seed)
    assert one.shape == (8, *shape) and one.dtype == np.float32
    assert np.array_equal(one, golden_inputs(shape, low, high, seed))
    assert one.min() >= np.float32(low) and one.max() <= np.float32(high)


def test_golden_inputs_differ_from_each_other_and_by_seed_and_cover_the_range():
    one = golden_inputs((1, 32, 32), -2.0, 2.0)
    assert len(np.unique(one.reshape(8, -1), axis=0)) == 8
    assert not np.array_equal(one, golden_inputs((1, 32, 32), -2.0, 2.0, seed=1))
    assert one.min() < -1.5 and one.max() > 1.5


def test_the_inputs_stay_the_same_in_every_release():
    """Sealed artifacts hold their own copy; a change here would still be worth noticing."""
    got = golden_inputs((1, 4, 4), 0.0, 1.0)
    assert float(got.astype(np.float64).sum()) == pytest.approx(float(_plain().sum()), abs=1e-4)


def _plain():
    generator = np.random.default_rng(0)
    noise = generator.random((8, 1, 4, 4), dtype=np.float32)
    frequency = generator.uniform(1, 12, (8, 1, 1, 1))
    waves = 0.5 + 0.5 * np.sin(np.linspace(0, 1, 4) * frequency)
    share = np.linspace(0.1, 0.9, 8).reshape(8, 1, 1, 1)
    return share * noise + (1 - share) * waves


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
