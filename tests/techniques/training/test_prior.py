import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primum.models.signature import Activation, Signature
from primum.task import Task
from primum.techniques.training.prior import class_weights


def signature(task, classes, outputs, activation):
    return Signature(input_shape=(4,), outputs=outputs, classes=classes, activation=activation, task=task)


def drawn(rng, log_odds, weights):
    """Labels drawn from a known posterior, and the log answers of a network trained on them with these weights."""
    posterior = np.exp(log_odds) / np.exp(log_odds).sum(axis=1, keepdims=True)
    labels = (posterior.cumsum(axis=1) < rng.random((len(posterior), 1))).sum(axis=1)
    answers = posterior * weights
    return labels, np.log(answers / answers.sum(axis=1, keepdims=True)).astype(np.float32)


def normal(weights, labels):
    """Such that the labels weigh 1 on average."""
    weights = np.asarray(weights, float)
    return weights / weights[labels].mean()


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 5.0), (4.0, 0.25)])
def test_the_weights_a_network_was_trained_with_are_read_off_its_answers(weights):
    rng = np.random.default_rng(1)
    odds = np.stack([np.zeros(40_000), rng.normal(1, 2, 40_000)], axis=1)
    labels, answers = drawn(rng, odds, weights)
    one_logit = (answers[:, 1] - answers[:, 0])[:, None]
    for raw, activation in ((one_logit, Activation.SIGMOID), (answers, Activation.SOFTMAX)):
        found = class_weights(signature(Task.BINARY, ("no", "yes"), raw.shape[1], activation), raw, labels)
        assert found == pytest.approx(normal(weights, labels), rel=0.05)


@given(st.lists(st.floats(0.2, 5), min_size=4, max_size=4), st.integers(0, 2**31))
def test_with_them_the_mean_answer_meets_the_labels(weights, seed):
    rng = np.random.default_rng(seed)
    labels, raw = drawn(rng, rng.normal(0, 1.5, (3_000, 4)), weights)
    known = signature(Task.MULTICLASS, ("a", "b", "c", "d"), 4, Activation.SOFTMAX)
    found = class_weights(known, raw, labels)
    assert (found > 0).all() and found[labels].mean() == pytest.approx(1)
    p = known.probabilities(raw)
    for c in range(4):
        got, due = (found[labels] * p[:, c]).sum(), (found[labels] * (labels == c)).sum()
        assert got == pytest.approx(due, abs=2 * found.max()), "but for the one confusion that is added"


def test_answers_that_never_err_say_nothing_of_weights():
    labels = np.array([0] * 90 + [1] * 10)
    raw = np.where(labels == 1, 40, -40).astype(np.float32)[:, None]
    assert class_weights(signature(Task.BINARY, ("no", "yes"), 1, Activation.SIGMOID), raw, labels) == pytest.approx(1)


def test_a_class_without_a_case_weighs_one():
    rng = np.random.default_rng(2)
    labels, raw = drawn(rng, rng.normal(0, 1, (2_000, 2)), (1, 3))
    wide = np.insert(raw, 1, -8, axis=1)
    found = class_weights(signature(Task.ORDINAL, ("0", "1", "2"), 3, Activation.SOFTMAX), wide, labels * 2)
    assert found[1] == 1 and found[[0, 2]] == pytest.approx(normal((1, 3), labels), rel=0.15)


def test_each_finding_has_its_own_and_unknown_labels_do_not_count():
    rng = np.random.default_rng(3)
    both = [drawn(rng, np.stack([np.zeros(20_000), rng.normal(0, 2, 20_000)], axis=1), w) for w in ((1, 4), (2, 1))]
    labels, raw = np.stack([y for y, _ in both], 1), np.stack([a[:, 1] - a[:, 0] for _, a in both], 1)
    hidden = labels.copy()
    hidden[rng.random(labels.shape) < 0.3] = -1
    found = class_weights(signature(Task.MULTILABEL, ("a", "b"), 2, Activation.SIGMOID), raw, hidden)
    for got, w, y in zip(found, ((1, 4), (2, 1)), labels.T):
        assert got == pytest.approx(normal(w, y), rel=0.08)


def test_values_and_masks_have_no_classes_to_weigh():
    known = signature(Task.REGRESSION, (), 1, Activation.IDENTITY)
    assert class_weights(known, np.zeros((3, 1), np.float32), np.zeros((3, 1))) is None
