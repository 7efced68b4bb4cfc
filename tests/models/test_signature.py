import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, softmax

from primum.errors import InputError
from primum.models.signature import Activation, Signature, infer_signature

CLASSES = ("benign", "malignant")
LARGEST = float(np.finfo(np.float32).max)
extreme = st.floats(-LARGEST, LARGEST, width=32)
one = arrays(np.float32, st.tuples(st.integers(1, 9), st.just(1)), elements=extreme)
two = arrays(np.float32, st.tuples(st.integers(1, 9), st.just(2)), elements=extreme)


def signature(outputs, activation, positive=1):
    return Signature(input_shape=(1, 4, 4), outputs=outputs, classes=CLASSES, positive=positive, activation=activation)


def infer(raw, classes=CLASSES, positive=None, activation=None):
    return infer_signature(np.asarray(raw, np.float32), (1, 4, 4), classes, positive, activation)


@given(one)
@settings(deadline=None)
def test_one_logit_becomes_scipys_sigmoid(raw):
    got = signature(1, Activation.SIGMOID).probabilities(raw)
    np.testing.assert_allclose(got[:, 1], expit(raw[:, 0].astype(np.float64)), rtol=1e-12, atol=1e-300)
    assert got.shape == (len(raw), 2)


@given(two)
@settings(deadline=None)
def test_two_logits_become_scipys_softmax(raw):
    got = signature(2, Activation.SOFTMAX).probabilities(raw)
    np.testing.assert_allclose(got, softmax(raw.astype(np.float64), axis=1), rtol=1e-9, atol=1e-300)


@given(st.one_of(one, two))
@settings(deadline=None)
def test_rows_sum_to_one_and_stay_finite_whatever_the_logits(raw):
    outputs = raw.shape[1]
    got = signature(outputs, Activation.SIGMOID if outputs == 1 else Activation.SOFTMAX).probabilities(raw)
    assert np.isfinite(got).all() and (got >= 0).all() and (got <= 1).all()
    np.testing.assert_allclose(got.sum(axis=1), 1.0, atol=1e-12)


@given(one)
@settings(deadline=None)
def test_probabilities_rise_with_the_logit(raw):
    raw = np.sort(raw, axis=0)
    assert (np.diff(signature(1, Activation.SIGMOID).positive_probability(raw)) >= 0).all()
    pair = np.concatenate([np.zeros_like(raw), raw], axis=1)
    assert (np.diff(signature(2, Activation.SOFTMAX).positive_probability(pair)) >= 0).all()


@given(arrays(np.float32, (5, 1), elements=st.floats(0, 1, width=32)))
def test_probabilities_pass_through(raw):
    got = signature(1, Activation.IDENTITY).probabilities(raw)
    assert np.array_equal(got[:, 1], raw[:, 0].astype(np.float64))
    both = np.concatenate([1 - raw, raw], axis=1)
    assert np.array_equal(signature(2, Activation.IDENTITY).probabilities(both), both.astype(np.float64))


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("activation", [Activation.SIGMOID, Activation.IDENTITY])
def test_nan_stays_nan_and_stays_in_its_row(outputs, activation):
    raw = np.array([[0.3] * outputs, [np.nan] * outputs], np.float32)
    got = signature(outputs, activation if outputs == 1 else Activation.SOFTMAX).probabilities(raw)
    assert np.isfinite(got[0]).all() and np.isnan(got[1]).all()


def test_trailing_axes_are_flattened():
    raw = np.zeros((3, 1, 1, 1), np.float32)
    assert signature(1, Activation.SIGMOID).probabilities(raw).tolist() == [[0.5, 0.5]] * 3


@pytest.mark.parametrize("positive", [0, 1])
def test_the_positive_class_picks_its_column(positive):
    raw = np.array([[2.0], [-1.0]], np.float32)
    chosen = signature(1, Activation.SIGMOID, positive)
    assert np.array_equal(chosen.positive_probability(raw), chosen.probabilities(raw)[:, positive])


@pytest.mark.parametrize(
    ("raw", "activation"),
    [
        ([[0.1], [0.9]], Activation.IDENTITY),
        ([[0.0], [1.0]], Activation.IDENTITY),
        ([[-0.1], [0.9]], Activation.SIGMOID),
        ([[0.1], [1.1]], Activation.SIGMOID),
        ([[0.1, 0.9], [0.7, 0.3]], Activation.IDENTITY),
        ([[0.1, 0.9], [0.7, 0.4]], Activation.SOFTMAX),
        ([[3.0, -2.0], [0.7, 0.3]], Activation.SOFTMAX),
    ],
)
def test_the_activation_is_inferred_from_the_outputs(raw, activation):
    got = infer(raw)
    assert got.activation is activation and got.outputs == len(raw[0]) and got.positive == 1


def test_what_is_stated_wins_over_what_is_inferred():
    got = infer([[0.1], [0.9]], positive="benign", activation=Activation.SIGMOID)
    assert got.activation is Activation.SIGMOID and got.positive == 0 and got.classes == CLASSES


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_are_counted(bad):
    with pytest.raises(InputError, match="on 1 of 3 cases"):
        infer([[0.1, 0.2], [0.3, bad], [0.5, 0.6]])


@pytest.mark.parametrize(
    ("raw", "more", "message"),
    [
        ([[0.1, 0.2, 0.3]], {}, "gives 3 outputs"),
        ([[0.1]], {"classes": ("a", "b", "c")}, r"3 classes \(a, b, c\)"),
        ([[0.1]], {"classes": ("a",)}, "1 classes"),
        ([[0.1]], {"positive": "cancer"}, "'cancer' is not one of the labels: benign, malignant"),
    ],
)
def test_outputs_and_classes_that_do_not_match(raw, more, message):
    with pytest.raises(InputError, match=message):
        infer(raw, **more)


def test_json_gives_back_an_equal_signature():
    chosen = infer([[0.1], [0.9]], positive="benign")
    assert Signature.model_validate_json(chosen.model_dump_json()) == chosen
