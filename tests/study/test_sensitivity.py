"""Scores of layers: the formula against one written out by hand, and what must hold for every network."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from primum.errors import InputError
from primum.models.signature import Activation, Signature
from primum.study.sensitivity import layer_scores, round_input, round_weight
from primum.task import Task


def signature(shape: tuple[int, ...], outputs: int = 2, **more: object) -> Signature:
    classes = tuple(f"c{i}" for i in range(max(outputs, 2)))
    return Signature(input_shape=shape, outputs=outputs, classes=classes, **more)


MULTI = {"task": Task.MULTICLASS, "activation": Activation.SOFTMAX}


def perceptron() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)).eval()


@pytest.fixture(scope="module")
def cases() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 3, 40)


def by_hand(net: nn.Module, cases: np.ndarray, labels: np.ndarray) -> list[float]:
    """The gradients of the perceptron's loss by the chain rule, one case at a time."""
    first, second = net[0], net[2]
    x = torch.from_numpy(cases)
    with torch.no_grad():
        hidden = first(x)
        active = hidden.clamp(min=0)
        at_answer = torch.softmax(second(active), 1) - functional.one_hot(torch.from_numpy(labels), 3)
        at_hidden = (at_answer @ second.weight) * (hidden > 0)
        found = []
        for layer, entered, gradient in ((first, x, at_hidden), (second, active, at_answer)):
            low, high = min(float(entered.min()), 0.0), max(float(entered.max()), 0.0)
            step = (high - low) / 255
            zero = round(-low / step)
            rounded = (torch.clamp(torch.round(entered / step + zero), 0, 255) - zero) * step
            scale = layer.weight.abs().amax(1, keepdim=True) / 127
            weight = torch.round(layer.weight / scale) * scale
            change = functional.linear(rounded, weight, layer.bias) - layer(entered)
            found.append(float((gradient * change).square().sum()) / len(cases))
    return found


def test_the_score_is_the_formula_though_relu_works_in_place(cases, labels):
    net = perceptron()
    scores = layer_scores(net, signature((6,), 3, **MULTI), cases, labels)
    assert [s.name for s in scores] == ["0", "2"]
    np.testing.assert_allclose([s.score for s in scores], by_hand(net, cases, labels), rtol=1e-4)


def test_a_network_is_left_as_it_was(cases, labels):
    net = perceptron().train()
    net[0].weight.requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    layer_scores(net, signature((6,), 3, **MULTI), cases, labels)
    assert net.training and [p.requires_grad for p in net.parameters()] == [False, True, True, True]
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert all(p.grad is None for p in net.parameters())


def test_a_layer_on_the_grid_already_has_no_score(cases, labels):
    """Weights of whole steps and inputs of whole steps: rounding changes nothing."""
    net = nn.Sequential(nn.Linear(6, 3)).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.randint(-126, 127, (3, 6)))
        net[0].weight[:, 0] = 127.0
    grid = np.random.default_rng(0).integers(0, 256, (20, 6)).astype(np.float32)
    grid[0, 0], grid[0, 1] = 0.0, 255.0
    (score,) = layer_scores(net, signature((6,), 3, **MULTI), grid, labels[:20])
    assert score.score == 0 and score.change == 0


@pytest.mark.parametrize(
    ("outputs", "settings", "make"),
    [
        (1, {}, lambda g: g.integers(0, 2, 24)),
        (2, {"activation": Activation.SOFTMAX}, lambda g: g.integers(0, 2, 24)),
        (3, MULTI, lambda g: g.integers(0, 3, 24)),
        (3, {"task": Task.MULTILABEL}, lambda g: g.integers(-1, 2, (24, 3))),
        (2, {"task": Task.REGRESSION, "activation": Activation.IDENTITY}, lambda g: g.normal(size=(24, 2))),
    ],
)
@pytest.mark.parametrize("labelled", [True, False])
def test_every_task_has_finite_scores(outputs, settings, make, labelled):
    generator = np.random.default_rng(0)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 8, outputs)).eval()
    cases = generator.normal(size=(24, 2, 10)).astype(np.float32)
    labels = make(generator) if labelled else None
    scores = layer_scores(net, signature((2, 10), outputs, **settings), cases, labels)
    assert len(scores) == 2 and all(np.isfinite(s.score) and s.score > 0 and 0 < s.change < 0.1 for s in scores)
    again = layer_scores(net, signature((2, 10), outputs, **settings), cases, labels)
    assert again == scores


def test_masks_have_a_loss_at_every_pixel():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(4, 3, 2, stride=2)).eval()
    about = signature((1, 8, 8), 3, task=Task.SEGMENTATION, activation=Activation.SOFTMAX, spatial=(16, 16))
    cases = np.random.default_rng(0).normal(size=(6, 1, 8, 8)).astype(np.float32)
    masks = np.random.default_rng(1).integers(0, 3, (6, 16, 16)).astype(np.uint8)
    for labels in (masks, None):
        assert all(s.score > 0 for s in layer_scores(net, about, cases, labels))


def test_unknown_labels_carry_no_loss(cases):
    about = signature((6,), 3, task=Task.MULTILABEL)
    scores = layer_scores(perceptron(), about, cases, np.full((40, 3), -1))
    assert [s.score for s in scores] == [0, 0]


def test_rounding_follows_torch(cases):
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, 3)
    scale = layer.weight.detach().abs().amax((1, 2, 3)) / 127
    known = torch.fake_quantize_per_channel_affine(
        layer.weight.detach(), scale, torch.zeros(5, dtype=torch.int32), 0, -127, 127
    )
    torch.testing.assert_close(round_weight(layer), known)
    x = torch.from_numpy(cases)
    low, high = float(x.min()), float(x.max())
    step = (high - low) / 255
    known = torch.fake_quantize_per_tensor_affine(x, step, round(-low / step), 0, 255)
    assert (round_input(x, low, high) - known).abs().max() < 1e-6
    transposed = nn.ConvTranspose2d(3, 5, 2)
    steps = round_weight(transposed) / (transposed.weight.detach().abs().amax((0, 2, 3), keepdim=True) / 127)
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)


def test_what_cannot_be_ranked_is_said(cases):
    with pytest.raises(InputError, match="cases"):
        layer_scores(perceptron(), signature((6,), 3, **MULTI), cases[:0])
    with pytest.raises(InputError, match="no convolution"):
        layer_scores(nn.ReLU(), signature((6,), 3, **MULTI), cases)
