"""Odds of a taught network, matched to its teacher's on calibration inputs."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from primum.models.signature import Activation, Signature
from primum.task import Task
from primum.techniques.context import Context
from primum.techniques.distillation.odds import match_odds

KINDS = [
    (Task.BINARY, 1, Activation.SIGMOID),
    (Task.BINARY, 2, Activation.SOFTMAX),
    (Task.MULTICLASS, 4, Activation.SOFTMAX),
    (Task.ORDINAL, 3, Activation.SOFTMAX),
    (Task.MULTILABEL, 3, Activation.SIGMOID),
]


def signature(task, outputs, activation):
    count = 2 if task is Task.BINARY else outputs
    return Signature(
        input_shape=(5,), outputs=outputs, task=task, classes=tuple("abcde"[:count]), activation=activation
    )


def network(outputs, seed, bias=True):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, outputs, bias=bias)).eval()


def inputs(count=200, seed=0):
    return np.random.default_rng(seed).normal(0, 2, (count, 5)).astype(np.float32)


def answers(model, known, x):
    with torch.inference_mode():
        return known.probabilities(model(torch.from_numpy(x)).numpy())


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(KINDS), st.integers(0, 1000), st.floats(-6, 6), st.booleans())
def test_mean_answers_become_the_teachers_and_nothing_else_changes(kind, seed, moved, bias):
    known, x = signature(*kind), inputs(seed=seed)
    teacher, student = network(kind[1], seed), network(kind[1], seed + 1, bias)
    with torch.no_grad():
        teacher[-1].bias[0] += moved
    before, context = copy.deepcopy(student), Context(signature=known, teacher=teacher, calibration=x)
    differ = answers(student, known, x) - answers(teacher, known, x)
    match_odds(student, context)
    if not (np.abs(differ.mean(0)) > 2 * differ.std(0, ddof=1) / np.sqrt(len(x))).any():
        assert "chance" in context.notes[-1]
        assert not bias or torch.equal(before[-1].bias, student[-1].bias)
        return
    assert answers(student, known, x).mean(0) == pytest.approx(answers(teacher, known, x).mean(0), abs=1e-4)
    state = student.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in before.state_dict().items() if name != "3.bias")
    assert not student.training and not any(m._forward_hooks for m in student.modules())
    assert "odds matched to the original's on 200 calibration inputs" in context.notes[-1]


def test_what_chance_explains_moves_nothing():
    """Half of the cases answered higher, half lower by as much: the mean is off by the noise alone."""
    generator = np.random.default_rng(3)
    torch.manual_seed(3)
    teacher, student = (nn.Sequential(nn.Linear(5, 1)) for _ in range(2))
    student.load_state_dict(teacher.state_dict())
    with torch.no_grad():
        student[0].weight += torch.from_numpy(generator.normal(0, 0.3, (1, 5)).astype(np.float32))
    known, before = signature(*KINDS[0]), student[0].bias.clone()
    context = Context(signature=known, teacher=teacher, calibration=inputs())
    off = (answers(student, known, inputs()) - answers(teacher, known, inputs()))[:, 1].mean()
    match_odds(student, context)
    assert off != 0 and torch.equal(student[0].bias, before) and "chance explains" in context.notes[-1]
    with torch.no_grad():
        student[0].bias += 0.7
    match_odds(student, context)
    assert not torch.equal(student[0].bias, before + 0.7) and "odds matched" in context.notes[-1]


def test_a_copy_of_the_teacher_stays_as_it_is():
    teacher = network(1, 3)
    student = copy.deepcopy(teacher)
    match_odds(student, Context(signature=signature(*KINDS[0]), teacher=teacher, calibration=inputs()))
    assert torch.allclose(student[-1].bias, teacher[-1].bias, atol=1e-6)


class Pooled(nn.Module):
    """Its outputs are no layer's own."""

    def __init__(self):
        super().__init__()
        self.inner = network(1, 1)

    def forward(self, x):
        return self.inner(x) * 1.5


@pytest.mark.parametrize(
    ("model", "count", "activation", "why"),
    [
        (Pooled(), 200, Activation.SIGMOID, "no last layer gives the logits"),
        (network(1, 1), 200, Activation.IDENTITY, "no last layer gives the logits"),
        (network(1, 1), 10, Activation.SIGMOID, "fewer than 30"),
    ],
)
def test_where_it_cannot_be_done_the_reason_is_told_and_nothing_changes(model, count, activation, why):
    before = copy.deepcopy(model.state_dict())
    context = Context(signature=signature(Task.BINARY, 1, activation), teacher=network(1, 2), calibration=inputs(count))
    match_odds(model, context)
    assert why in context.notes[-1]
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_a_class_that_the_teacher_never_gives_a_chance_moves_nothing():
    teacher, student = network(3, 1), network(3, 2)
    with torch.no_grad():
        teacher[-1].bias[2] -= 200
    context = Context(signature=signature(*KINDS[2][:1], 3, Activation.SOFTMAX), teacher=teacher, calibration=inputs())
    before = student[-1].bias.clone()
    match_odds(student, context)
    assert torch.equal(student[-1].bias, before) and "no chance" in context.notes[-1]


def test_values_are_left_alone():
    known = Signature(input_shape=(5,), outputs=1, task=Task.REGRESSION, classes=("v",), activation=Activation.IDENTITY)
    context = Context(signature=known, teacher=network(1, 1), calibration=inputs())
    match_odds(network(1, 2), context)
    assert context.notes == []
