"""Losses of each task against numpy and against torch's own."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from primum.errors import InputError
from primum.models.signature import Activation, Signature
from primum.task import Task
from primum.techniques.training.losses import check_labels, logits, task_loss


def signature(task, outputs, classes=None, **more):
    names = tuple(f"c{i}" for i in range(classes or max(outputs, 2 if task is Task.BINARY else 1)))
    default = Activation.SIGMOID if outputs == 1 or task is Task.MULTILABEL else Activation.SOFTMAX
    more.setdefault("activation", Activation.IDENTITY if task is Task.REGRESSION else default)
    return Signature(input_shape=(4,), outputs=outputs, task=task, classes=names, **more)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2


@given(st.integers(0, 10_000), st.sampled_from([0, 1]))
def test_one_logit_is_about_the_positive_class(seed, positive):
    z = draw(7, 1, seed=seed)
    y = np.random.default_rng(seed).integers(0, 2, 7)
    p = 1 / (1 + np.exp(-z[:, 0].double().numpy()))
    hit = y == positive
    expected = -np.mean(np.log(np.where(hit, p, 1 - p)))
    found = task_loss(signature(Task.BINARY, 1, positive=positive))(z, torch.from_numpy(y))
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_two_logits_and_classes_are_cross_entropy():
    z, y = draw(9, 3), torch.arange(9) % 3
    assert torch.equal(task_loss(signature(Task.MULTICLASS, 3))(z, y), functional.cross_entropy(z, y))
    assert torch.equal(task_loss(signature(Task.BINARY, 2))(z[:, :2], y % 2), functional.cross_entropy(z[:, :2], y % 2))


def test_probabilities_give_the_loss_of_their_logits():
    z, y = draw(9, 3), torch.arange(9) % 3
    given_as = signature(Task.MULTICLASS, 3, activation=Activation.IDENTITY)
    assert float(task_loss(given_as)(z.softmax(1), y)) == pytest.approx(float(functional.cross_entropy(z, y)), rel=1e-5)
    alone = signature(Task.BINARY, 1, activation=Activation.IDENTITY)
    assert torch.allclose(logits(z[:, :1].sigmoid(), alone), z[:, :1], atol=1e-4)
    certain = task_loss(alone)(torch.tensor([[1.0], [0.0]]), torch.tensor([0, 1]))
    assert torch.isfinite(certain)


def test_unknown_findings_count_for_nothing():
    z = draw(6, 3).requires_grad_()
    y = torch.tensor([[1, 0, -1], [-1, -1, -1], [0, 1, 1], [1, 1, -1], [0, -1, 0], [1, 0, 0]])
    known = (y >= 0).numpy()
    p = 1 / (1 + np.exp(-z.detach().double().numpy()))
    expected = -np.where(y.numpy() == 1, np.log(p), np.log(1 - p))[known].mean()
    loss = task_loss(signature(Task.MULTILABEL, 3))(z, y)
    loss.backward()
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert (z.grad.numpy()[~known] == 0).all() and (z.grad.numpy()[known] != 0).all()


def test_a_batch_without_any_known_finding_teaches_nothing():
    z = draw(2, 3).requires_grad_()
    loss = task_loss(signature(Task.MULTILABEL, 3))(z, torch.full((2, 3), -1))
    loss.backward()
    assert float(loss) == 0 and not z.grad.any()


def test_a_grade_further_off_costs_more():
    z = torch.eye(4) * 6
    near = task_loss(signature(Task.ORDINAL, 4))(z[:1], torch.tensor([1]))
    far = task_loss(signature(Task.ORDINAL, 4))(z[:1], torch.tensor([3]))
    assert float(far) > float(near) + 1


def test_ranked_probability_score_by_hand():
    z = draw(5, 4, seed=3)
    y = torch.tensor([0, 1, 2, 3, 1])
    p = z.double().softmax(1).numpy().cumsum(1)
    truth = (y.numpy()[:, None] <= np.arange(4)).astype(float)
    expected = ((p - truth) ** 2).sum(1).mean() + float(functional.cross_entropy(z, y))
    assert float(task_loss(signature(Task.ORDINAL, 4))(z, y)) == pytest.approx(expected, rel=1e-5)


def test_values_are_judged_in_their_own_spread():
    y = np.random.default_rng(0).normal([50, 0.1], [20, 0.01], (40, 2))
    out = torch.from_numpy(y + np.array([20, 0.01])).float()
    loss = task_loss(signature(Task.REGRESSION, 2), y)(out, torch.from_numpy(y).float())
    expected = np.mean((np.array([20, 0.01]) / y.std(0)) ** 2)
    assert float(loss) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("spatial", [(5, 6), (3, 4, 5)])
def test_masks_cross_entropy_and_dice(spatial):
    z = draw(2, 3, *spatial)
    y = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (2, *spatial)).astype(np.uint8))
    p = z.double().softmax(1).numpy()
    dice = []
    for k in (1, 2):
        t = (y.numpy() == k).astype(float)
        dice.append((2 * (p[:, k] * t).sum() + 1) / (p[:, k].sum() + t.sum() + 1))
    expected = float(functional.cross_entropy(z, y.long())) + 1 - np.mean(dice)
    found = task_loss(signature(Task.SEGMENTATION, 3, spatial=spatial))(z, y)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_one_channel_masks_and_a_perfect_mask_costs_nothing():
    sign = signature(Task.SEGMENTATION, 1, classes=2, spatial=(8, 8), activation=Activation.SIGMOID)
    y = torch.zeros(1, 8, 8, dtype=torch.uint8)
    y[:, 2:5, 2:5] = 1
    perfect = task_loss(sign)((y.float() * 40 - 20)[:, None], y)
    assert float(perfect) < 1e-3 < 1 < float(task_loss(sign)(-(y.float() * 40 - 20)[:, None], y))


@pytest.mark.parametrize(
    ("task", "outputs", "labels"),
    [
        (Task.BINARY, 1, np.array([0, 1, 2])),
        (Task.MULTICLASS, 3, np.array([0.0, 1.0, 2.0])),
        (Task.MULTICLASS, 3, np.array([[0], [1]])),
        (Task.MULTILABEL, 2, np.array([[0, 2], [1, 0]])),
        (Task.MULTILABEL, 2, np.array([0, 1])),
        (Task.REGRESSION, 1, np.array([[1.0], [np.nan]])),
        (Task.REGRESSION, 2, np.array([[1.0]])),
    ],
)
def test_labels_of_another_task_are_refused(task, outputs, labels):
    with pytest.raises(InputError, match="training labels"):
        check_labels(labels, signature(task, outputs))


def test_absent_classes_are_said():
    assert "c2" in check_labels(np.array([0, 1, 0]), signature(Task.MULTICLASS, 3))[0]
    assert "c1" in check_labels(np.array([[1, 0], [1, -1]]), signature(Task.MULTILABEL, 2))[0]
    assert not check_labels(np.array([0, 1]), signature(Task.BINARY, 1))
