"""Models that give nothing, raise, or answer in numbers that are none: told plainly, and without a word of theirs."""

import numpy as np
import pytest
import torch
from torch import nn

from primum.errors import InputError
from primum.task import Task
from primum.workflows.answers import answers, run

INPUTS = np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)


def line(batch):
    return batch[:, :1] * 3


def raising(error):
    def model(batch):
        raise error

    return model


class Raising(nn.Module):
    def forward(self, x):
        raise KeyError("Jane Doe")


class Complex(nn.Module):
    def forward(self, x):
        return torch.complex(x[:, :1], x[:, 1:2])


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda b: None, "a model gives nothing .None."),
        (lambda b: 1.0, "a model gives a single value for 64 inputs"),
        (lambda b: line(b) * (1 + 1j), "values of type complex"),
        (Complex(), "complex"),
        (lambda b: np.array(["a"] * len(b)), "values of type"),
        (lambda b: np.array([None] * len(b)), "values of type object"),
        (lambda b: ["a"] * len(b), "gives a list"),
        (lambda b: np.zeros((len(b), len(b))), "outputs of another shape in each batch"),
        (raising(ZeroDivisionError("Jane Doe")), r"a model raised ZeroDivisionError on inputs of shape \(64, 3\)"),
        (Raising(), r"a model raised KeyError on inputs of shape \(64, 3\)"),
        (nn.Linear(5, 1), r"does not take these inputs, of shape \(64, 3\): it raised RuntimeError"),
    ],
)
def test_what_is_no_answer_is_refused_in_words(model, why):
    with pytest.raises(InputError, match=why) as caught:
        run(model, INPUTS)
    assert "Jane" not in str(caught.value)


def test_an_error_of_ours_passes_as_it_is():
    with pytest.raises(InputError, match="^mine$"):
        run(raising(InputError("mine")), INPUTS)


def test_gaps_in_the_inputs_are_not_blamed_on_the_model():
    gaps = INPUTS.copy()
    gaps[:7, 0] = np.nan
    gaps[7, 0] = np.inf
    with pytest.raises(InputError, match="8 of 70 inputs hold NaN or infinity, .* on 8 cases"):
        answers(line, line, gaps, Task.BINARY)
    filled = answers(lambda b: line(np.nan_to_num(b, posinf=0)), line, gaps, Task.BINARY)
    assert np.isfinite(filled.reference).all(), "a model that fills gaps is asked"
    with pytest.raises(InputError, match="NaN or infinite outputs on 70 of 70"):
        answers(lambda b: line(b) * np.nan, line, INPUTS, Task.BINARY)


def test_a_model_that_takes_no_inputs_far_from_the_usual_needs_its_activation():
    def careful(batch):
        if np.abs(batch).max() > 10:
            raise ValueError("Jane Doe")
        return line(batch)

    with pytest.raises(InputError, match="ValueError.*far outside the usual range.*activation") as caught:
        answers(careful, careful, INPUTS, Task.BINARY)
    assert "Jane" not in str(caught.value)
    assert answers(careful, careful, INPUTS, Task.BINARY, activation="sigmoid").reference.shape == (70, 2)


@pytest.mark.parametrize("task", [Task.MULTICLASS, Task.ORDINAL])
def test_one_output_decides_between_two_classes(task):
    with pytest.raises(InputError, match="one output, which decides between two classes: .* labels are then 0 and 1"):
        answers(line, line, INPUTS, task)


class Shifting(nn.Module):
    """Changes its input in place."""

    def forward(self, x):
        return 3 * x.sub_(5.0)[:, :1]


def shifting(batch):
    batch -= 5
    return line(batch)


@pytest.mark.parametrize("model", [Shifting(), shifting])
def test_what_a_model_does_to_its_inputs_reaches_neither_the_other_nor_the_caller(model):
    inputs = INPUTS.copy()
    found = answers(model, line, inputs, Task.BINARY)
    assert (inputs == INPUTS).all() and (found.candidate == answers(line, line, INPUTS, Task.BINARY).candidate).all()
    assert not np.allclose(found.reference, found.candidate)
    assert (run(model, inputs) == run(model, inputs)).all()


def test_a_model_that_answers_into_one_buffer_is_taken_at_its_word():
    kept = np.empty((64, 1), np.float32)

    def reusing(batch):
        kept[: len(batch)] = line(batch)
        return kept[: len(batch)]

    assert (run(reusing, INPUTS) == line(INPUTS)).all()


def test_masked_outputs_are_refused():
    with pytest.raises(InputError, match="a model gives masked values"):
        run(lambda b: np.ma.masked_less(line(b), 0), INPUTS)
    assert run(lambda b: np.ma.masked_array(line(b)), INPUTS).shape == (70, 1)
