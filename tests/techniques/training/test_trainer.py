"""The loop."""

import math
import subprocess
import sys

import learning
import numpy as np
import pytest
import torch
from torch import nn

from primum.errors import InputError, TrialError
from primum.techniques.context import Context, TrainingData
from primum.techniques.training import Augmentation, TrainingConfig, precision, task_loss, train
from primum.techniques.training.averaging import Average
from primum.techniques.training.parts import hold_out


def run(model=None, data=None, context=None, augment=None, loss=None, **settings):
    settings = {"epochs": 4, "batch": 16, "learning_rate": 5e-3} | settings
    context = context or Context(seed=1, signature=learning.stripes_signature())
    model = model or learning.small()
    loss = loss or task_loss(learning.stripes_signature())
    return model, train(model, loss, data or learning.stripes(), TrainingConfig(**settings), context, augment)


def states_equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_it_learns_what_unseen_patients_show():
    context = Context(seed=1, signature=learning.stripes_signature())
    model, result = run(context=context)
    unseen = learning.stripes(seed=99)
    assert learning.accuracy(learning.small(), unseen) < 0.7 < 0.9 < learning.accuracy(model, unseen)
    assert len(result.epochs) == 4 and result.stopped == "epochs" and result.best_epoch >= 1
    assert result.best_loss == min(e.validation_loss for e in result.epochs) < result.initial_loss
    assert result.fitting_cases + result.validation_cases == 160 and result.validation_cases >= 16
    assert not model.training and any("trained 4 epoch(s)" in note for note in context.notes)
    assert all(p.is_contiguous() for p in model.parameters())


@pytest.mark.parametrize("ema", [None, 0.95])
def test_the_weights_kept_are_those_of_the_best_epoch(ema):
    """The stated loss is that of the returned model on the held-out patients."""
    data = learning.stripes(noise=1.5)
    model, result = run(data=data, epochs=8, learning_rate=2e-2, ema=ema)
    _, held = hold_out(data, 0.15)
    with torch.inference_mode():
        out = model(torch.from_numpy(data.inputs[held]))
        loss = task_loss(learning.stripes_signature())(out, torch.from_numpy(data.labels[held]))
    assert float(loss) == pytest.approx(result.best_loss, rel=1e-4)


@pytest.mark.parametrize("settings", [{}, {"mixup": 0.2, "ema": 0.9}, {"optimizer": "sgd"}])
def test_the_seed_decides(settings):
    one, _ = run(augment=Augmentation(), epochs=2, **settings)
    torch.manual_seed(77)
    np.random.seed(77)
    again, _ = run(augment=Augmentation(), epochs=2, **settings)
    other, _ = run(augment=Augmentation(), context=Context(seed=2), epochs=2, **settings)
    assert states_equal(one, again) and not states_equal(one, other)


def test_randomness_of_the_caller_is_left_alone():
    model = learning.small()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(model, epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_training_that_harms_keeps_the_weights_as_they_came():
    model, _ = run()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    data = learning.stripes(seed=5)
    fit, _ = hold_out(data, 0.15)
    data.labels[fit] = 1 - data.labels[fit]
    context = Context(signature=learning.stripes_signature())
    _, result = run(model, data=data, context=context, learning_rate=0.9, optimizer="sgd", clip=None, epochs=1)
    assert result.best_epoch == 0 and all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert any("as they came" in note for note in context.notes)
    run(model, data=data, learning_rate=0.9, optimizer="sgd", clip=None, epochs=1, keep_initial=False)
    assert not all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_patience():
    _, result = run(epochs=60, patience=2, learning_rate=2e-2, data=learning.stripes(noise=3))
    assert result.stopped == "patience" and len(result.epochs) == result.best_epoch + 2 < 60


def test_minutes_cut_the_steps_and_anneal_the_rate():
    context = Context(signature=learning.stripes_signature())
    _, result = run(context=context, epochs=100_000, max_minutes=2 / 60)
    assert result.stopped == "time" and 1 <= len(result.epochs) < 5000 and result.seconds < 4
    assert result.epochs[-1].learning_rate < 0.5 * 5e-3
    assert any("max_minutes" in note for note in context.notes)


def test_less_time_than_one_step_takes_is_one_step():
    _, result = run(max_minutes=1e-6)
    assert len(result.epochs) == 1 and result.stopped == "time"


def test_nan_among_the_inputs():
    data = learning.stripes()
    data.inputs[3] = np.nan
    with pytest.raises(TrialError, match=r"loss is nan in epoch 1, step \d+"):
        run(data=data)


def test_what_torch_refuses_is_a_failed_trial():
    with pytest.raises(TrialError, match="training failed"):
        run(data=TrainingData(np.zeros((20, 3, 4), np.float32), np.zeros(20, np.int64), np.arange(20).astype(str)))


@pytest.mark.parametrize(("inputs", "labels", "units"), [(1, 1, 1), (9, 8, 9), (9, 9, 8)])
def test_cases_labels_and_units_must_match(inputs, labels, units):
    data = TrainingData(np.zeros((inputs, 1, 16, 16), np.float32), np.zeros(labels, np.int64), np.array(["u"] * units))
    with pytest.raises(InputError, match="two cases or more"):
        run(data=data)


def test_a_model_without_free_weights_cannot_be_trained():
    model = learning.small().requires_grad_(False)
    with pytest.raises(InputError, match="requires_grad"):
        run(model)


def test_frozen_weights_stay():
    model = learning.small()
    model.stem.requires_grad_(False)
    before = model.stem[0].weight.clone()
    run(model, epochs=1)
    assert torch.equal(model.stem[0].weight, before) and not model.stem[0].weight.requires_grad


def test_one_patient_leaves_nobody_to_hold_out():
    context = Context()
    data = learning.stripes()
    alone = TrainingData(data.inputs, data.labels, np.array(["one"] * len(data)))
    _, result = run(data=alone, context=context, epochs=2)
    assert result.validation_cases == 0 and result.best_epoch == 2 and math.isnan(result.best_loss)
    assert any("held out" in note for note in context.notes)


def test_memory_mapped_inputs(tmp_path):
    data = learning.stripes()
    np.save(tmp_path / "x.npy", data.inputs)
    mapped = TrainingData(np.load(tmp_path / "x.npy", mmap_mode="r"), data.labels, data.units)
    one, _ = run(data=mapped, epochs=1)
    other, _ = run(data=data, epochs=1)
    assert states_equal(one, other)


def test_the_last_short_batch_is_left_out():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.sizes = nn.Linear(3, 1), []

        def forward(self, x):
            if self.training:
                self.sizes.append(len(x))
            return self.net(x)

    model = Counting()
    data = TrainingData(np.ones((21, 3), np.float32), np.ones((21, 1)), np.arange(21).astype(str))
    run(model, data=data, loss=lambda out, y: (out - y).square().mean(), epochs=2, validation=0, batch=5)
    assert model.sizes == [5] * 8
    model.sizes.clear()
    run(model, data=data, loss=lambda out, y: (out - y).square().mean(), epochs=1, validation=0, batch=500)
    assert model.sizes == [21]


def test_average_by_hand():
    average = Average({"w": torch.tensor([0.0]), "n": torch.tensor(0), "range": torch.tensor(float("inf"))}, 0.5)
    for step in range(20):
        average.update({"w": torch.tensor([1.0]), "n": torch.tensor(step), "range": torch.tensor(2.0)})
    expected = 0.0
    for step in range(20):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay)
    assert float(average.state["w"]) == pytest.approx(expected)
    assert int(average.state["n"]) == 19 and float(average.state["range"]) == 2.0


def test_precision_falls_back_only_with_a_note(monkeypatch):
    monkeypatch.setattr(precision, "_possible", lambda device: ())
    found = precision.choose_precision("bf16", "cpu", nn.Linear(2, 2), None)
    assert found.name == "fp32" and "bf16 was asked for" in found.note
    monkeypatch.setattr(precision, "_possible", lambda device: ("bf16",))
    assert precision.choose_precision("auto", "cpu", nn.Linear(2, 2), None).name == "fp32"
    big = nn.Linear(400, 400)
    assert precision.choose_precision("auto", "cpu", big, None).name == "bf16"
    assert precision.choose_precision("auto", "cpu", big, learning.Task.REGRESSION).name == "fp32"
    assert precision.choose_precision("fp32", "cpu", big, None).name == "fp32"
    assert "fp16" in precision.choose_precision("fp16", "cpu", big, None).note


def test_sixteen_bits_are_used_where_they_are_reported():
    seen = []
    model = learning.small()
    model.head.register_forward_hook(lambda m, i, o: seen.append((m.training, o.dtype)))
    _, result = run(model, epochs=1, precision="bf16")
    expected = torch.bfloat16 if result.precision == "bf16" else torch.float32
    assert (True, expected) in seen and (False, torch.float32) in seen
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_gradients_are_clipped():
    model = nn.Linear(3, 1)
    before = model.weight.detach().clone()
    data = TrainingData(np.ones((8, 3), np.float32) * 1e3, np.ones((8, 1)), np.arange(8).astype(str))
    settings = {"epochs": 1, "validation": 0, "optimizer": "sgd", "momentum": 0, "weight_decay": 0, "warmup": 0}
    run(model, data=data, loss=lambda o, y: (o - y).square().mean(), batch=8, learning_rate=0.1, clip=1.0, **settings)
    assert float((model.weight - before).norm()) <= 0.1 + 1e-6


def test_importing_training_loads_no_torch():
    code = "import sys, primum.techniques.training; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
