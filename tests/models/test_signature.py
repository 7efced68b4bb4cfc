import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, softmax

from primum.errors import InputError
from primum.models.signature import Activation, Signature, infer_signature
from primum.task import Task

CLASSES = ("benign", "malignant")
LARGEST = float(np.finfo(np.float32).max)
extreme = st.floats(-LARGEST, LARGEST, width=32)
one = arrays(np.float32, st.tuples(st.integers(1, 9), st.just(1)), elements=extreme)
two = arrays(np.float32, st.tuples(st.integers(1, 9), st.just(2)), elements=extreme)


def signature(outputs, activation, positive=1):
    return Signature(input_shape=(1, 4, 4), outputs=outputs, classes=CLASSES, positive=positive, activation=activation)


def infer(raw, classes=CLASSES, positive=None, activation=None, task=Task.BINARY, far=None):
    return infer_signature(np.asarray(raw, np.float32), (1, 4, 4), classes, positive, activation, far, task)


@given(one)
@settings(deadline=None)
def test_one_logit_becomes_its_sigmoid(raw):
    got = signature(1, Activation.SIGMOID).probabilities(raw)
    small = np.exp(-np.abs(raw[:, 0].astype(np.float64)))
    wanted = np.where(raw[:, 0] >= 0, 1 / (1 + small), small / (1 + small))
    np.testing.assert_allclose(got[:, 1], wanted, rtol=1e-12, atol=1e-300)
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


THREE = ("none", "mild", "severe")
NORMAL = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
PIXELS = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype(np.float32)
PROBABLE = softmax(PIXELS.astype(np.float64), axis=1).astype(np.float32)


@pytest.mark.parametrize("task", [Task.MULTICLASS, Task.ORDINAL])
def test_many_logits_are_one_distribution(task):
    got = infer(NORMAL, THREE, task=task)
    assert (got.task, got.activation, got.outputs, got.spatial) == (task, Activation.SOFTMAX, 3, ())
    np.testing.assert_allclose(got.scores(NORMAL), softmax(NORMAL.astype(np.float64), axis=1), rtol=1e-9)
    sure = softmax(NORMAL, axis=1)
    assert infer(sure, THREE, task=task).activation is Activation.IDENTITY
    assert np.array_equal(infer(sure, THREE, task=task).scores(sure), sure.astype(np.float64))


def test_findings_stand_each_alone():
    got = infer(NORMAL, THREE, task=Task.MULTILABEL)
    assert got.activation is Activation.SIGMOID
    np.testing.assert_allclose(got.scores(NORMAL), expit(NORMAL.astype(np.float64)), rtol=1e-9)
    within = np.clip(np.abs(NORMAL), 0, 1)
    assert infer(within, THREE, task=Task.MULTILABEL).activation is Activation.IDENTITY, "they need not add up to one"
    single = infer(NORMAL[:, :1], ("mass",), task=Task.MULTILABEL)
    assert single.scores(NORMAL[:, :1]).shape == (6, 1), "one finding stays one column"


def test_values_pass_through_also_where_they_lie_between_0_and_1():
    for raw in (NORMAL, np.abs(NORMAL) / 9):
        got = infer(raw, THREE, task=Task.REGRESSION)
        assert got.activation is Activation.IDENTITY
        assert np.array_equal(got.scores(raw), raw.astype(np.float64))
    one_value = infer(NORMAL[:, :1], ("LVEF",), task=Task.REGRESSION)
    assert one_value.probabilities(NORMAL[:, :1]).shape == (6, 1)


def test_masks_keep_their_axes_whether_or_not_a_runtime_flattens_them():
    got = infer(PIXELS, (), task=Task.SEGMENTATION)
    assert (got.outputs, got.spatial, got.classes) == (3, (4, 5), ("0", "1", "2"))
    assert got.activation is Activation.SOFTMAX
    for raw in (PIXELS, PIXELS.reshape(2, -1)):
        np.testing.assert_allclose(got.probabilities(raw), softmax(PIXELS.astype(np.float64), axis=1), rtol=1e-9)
        assert np.array_equal(got.class_map(raw), PIXELS.argmax(axis=1)) and got.class_map(raw).dtype == np.uint8
    assert infer(PROBABLE, (), task=Task.SEGMENTATION).activation is Activation.IDENTITY
    with pytest.raises(InputError, match="scored against true masks"):
        got.scores(PIXELS)


def test_one_channel_is_background_and_one_structure():
    raw = PIXELS[:, :1]
    got = infer(raw, ("background", "lung"), task=Task.SEGMENTATION)
    assert got.activation is Activation.SIGMOID and got.outputs == 1
    assert got.probabilities(raw).shape == (2, 2, 4, 5)
    np.testing.assert_allclose(got.probabilities(raw)[:, 1:], expit(raw.astype(np.float64)), rtol=1e-9)
    assert np.array_equal(got.class_map(raw), raw[:, 0] > 0)
    assert infer(raw, (), task=Task.SEGMENTATION).classes == ("0", "1")


def test_far_inputs_tell_small_logits_from_probabilities():
    small, far = np.full((4, 3), 1 / 3, np.float32), np.array([[9.0, -9.0, 0.0], [np.nan, 1, 1]], np.float32)
    for task in (Task.MULTICLASS, Task.MULTILABEL):
        assert infer(small, THREE, task=task).activation is Activation.IDENTITY
        assert infer(small, THREE, task=task, far=far).activation is not Activation.IDENTITY
    pixels = np.full((2, 2, 3, 3), 0.5, np.float32)
    assert infer(pixels, (), task=Task.SEGMENTATION, far=pixels * 30).activation is Activation.SOFTMAX


@pytest.mark.parametrize(
    ("raw", "more", "message"),
    [
        (NORMAL, {"classes": ("a", "b"), "task": Task.MULTICLASS}, "have 2 classes .*gives 3 outputs.*--classes"),
        (NORMAL, {"classes": ("a",), "task": Task.MULTILABEL}, "gives 3 outputs.*--label-columns"),
        (NORMAL, {"classes": ("a",), "task": Task.REGRESSION}, "gives 3 outputs.*--label-columns"),
        (NORMAL, {"classes": ("a", "b")}, "gives 3 outputs.*--classes"),
        (NORMAL[:, :1], {"classes": THREE}, "--task multiclass"),
        (NORMAL, {"classes": THREE, "task": Task.ORDINAL, "positive": "mild"}, "'mild' but it is ordinal"),
        (NORMAL, {"classes": (), "task": Task.SEGMENTATION}, r"shape \(N, 3\).*height, width"),
        (PIXELS, {"classes": ("a", "b"), "task": Task.SEGMENTATION}, "names 2 structures.*3 channel"),
        (PIXELS[:, :1], {"classes": ("a",), "task": Task.SEGMENTATION}, "names 1 structures"),
        (PIXELS * np.inf, {"classes": (), "task": Task.SEGMENTATION}, "on 2 of 2 cases"),
    ],
)
def test_outputs_and_labels_that_do_not_match_their_task(raw, more, message):
    with pytest.raises(InputError, match=message), np.errstate(invalid="ignore"):
        infer(raw, **more)


@pytest.mark.parametrize(
    ("task", "raw", "activation"),
    [
        (Task.MULTICLASS, NORMAL, Activation.SIGMOID),
        (Task.ORDINAL, NORMAL, Activation.SIGMOID),
        (Task.MULTILABEL, NORMAL, Activation.SOFTMAX),
        (Task.REGRESSION, NORMAL, Activation.SIGMOID),
        (Task.SEGMENTATION, PIXELS, Activation.SIGMOID),
        (Task.SEGMENTATION, PIXELS[:, :1], Activation.SOFTMAX),
        (Task.BINARY, NORMAL[:, :2], Activation.SIGMOID),
        (Task.BINARY, NORMAL[:, :1], Activation.SOFTMAX),
    ],
)
def test_an_activation_that_the_task_cannot_have_is_refused(task, raw, activation):
    classes = {Task.SEGMENTATION: (), Task.BINARY: CLASSES}.get(task, THREE)
    with pytest.raises(InputError, match=f"the activation of a {task.value} model"):
        infer(raw, classes, activation=activation, task=task)


@pytest.mark.parametrize(
    ("task", "raw", "named", "instead"),
    [
        (Task.BINARY, [[-2.0], [3.0]], CLASSES, "sigmoid"),
        (Task.BINARY, [[-2.0, 2.0], [3.0, -3.0]], CLASSES, "softmax"),
        (Task.MULTICLASS, [[0.5, 1.5, -1.0]], THREE, "softmax"),
        (Task.ORDINAL, [[0.5, 1.5, 1.0]], THREE, "softmax"),
        (Task.MULTILABEL, [[0.5, 1.5, 1.0]], THREE, "sigmoid"),
        (Task.SEGMENTATION, [[[[-4.0, 4.0]]]], (), "sigmoid"),
        (Task.SEGMENTATION, [[[[-4.0, 4.0]], [[4.0, -4.0]]]], (), "softmax"),
    ],
)
def test_logits_that_are_said_to_be_probabilities_are_refused(task, raw, named, instead):
    with pytest.raises(InputError, match=f"from .* to .*--activation {instead}"):
        infer(raw, named, task=task, activation=Activation.IDENTITY)
    far = np.array(raw, np.float32)
    with pytest.raises(InputError, match="--activation"):
        infer(np.full_like(far, 0.5), named, task=task, activation=Activation.IDENTITY, far=far)
    assert infer(np.full_like(far, 0.5), named, task=task, activation=Activation.IDENTITY)


def test_values_of_a_regression_are_no_probabilities():
    assert infer([[-2.0], [3.0]], ("hba1c",), task=Task.REGRESSION, activation=Activation.IDENTITY)


def test_a_signature_from_before_tasks_still_reads():
    old = {"input_shape": [1, 4, 4], "outputs": 1, "classes": ["a", "b"], "positive": 1, "activation": "sigmoid"}
    assert Signature.model_validate(old).task is Task.BINARY and Signature.model_validate(old).spatial == ()
