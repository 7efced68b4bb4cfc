"""Running statistics are those of the data."""

import copy

import numpy as np
import pruning_nets
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from primum.errors import InputError, TrialError
from primum.techniques.batch_norm import ReestimateBatchNorm, reestimate_batch_norm
from primum.techniques.context import Context, TrainingData
from primum.techniques.registry import Stage, apply_all, make, technique_of

INPUTS = np.random.default_rng(0).normal(2.0, 3.0, (37, 3, 16, 16)).astype(np.float32)


def _net() -> nn.Module:
    torch.manual_seed(0)
    return pruning_nets.ready(pruning_nets.ResNet())


def _layers(net: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {name: m for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}


@pytest.mark.parametrize("size", [5, 6, 36, 64])
def test_first_layer_has_mean_and_variance_of_a_full_pass(size):
    net = _net()
    result = reestimate_batch_norm(net, ReestimateBatchNorm(batch_size=size), Context(calibration=INPUTS))
    with torch.no_grad():
        full = net.stem[0](torch.from_numpy(INPUTS)).double()
    found = result.model.stem[1]
    torch.testing.assert_close(found.running_mean.double(), full.mean((0, 2, 3)), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.running_var.double(), full.var((0, 2, 3)), rtol=1e-5, atol=1e-5)
    assert result.cases == 37 and set(result.layers) == set(_layers(net))


def test_every_layer_agrees_with_torch_on_one_batch_and_in_the_mean_of_several():
    for size, statistics in ((37, ("running_mean", "running_var")), (18, ("running_mean",))):
        cases = INPUTS if size == 37 else INPUTS[:36]
        ours = reestimate_batch_norm(_net(), ReestimateBatchNorm(batch_size=size), Context(calibration=cases)).model
        theirs = _net()
        update_bn([torch.from_numpy(cases[i : i + size]) for i in range(0, len(cases), size)], theirs)
        for name, layer in _layers(theirs).items():
            for statistic in statistics:
                torch.testing.assert_close(
                    getattr(_layers(ours)[name], statistic), getattr(layer, statistic), rtol=1e-4, atol=1e-5
                )


def test_stale_statistics_are_mended():
    net = _net()
    with torch.no_grad():
        for layer in _layers(net).values():
            layer.running_mean.add_(5.0)
            layer.running_var.mul_(30.0)
    mended = reestimate_batch_norm(net, ReestimateBatchNorm(), Context(calibration=INPUTS)).model
    scale, shift = mended.stem[1].weight.detach(), mended.stem[1].bias.detach()
    with torch.no_grad():
        y = mended.stem[1](mended.stem[0](torch.from_numpy(INPUTS)))
    torch.testing.assert_close(y.mean((0, 2, 3)), shift, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(y.std((0, 2, 3)), scale, atol=1e-2, rtol=1e-2)


def test_modes_weights_and_the_original_are_left_as_they_were():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.BatchNorm2d(4), nn.Flatten()).eval()
    net[2].train()
    before = copy.deepcopy(net.state_dict())
    context = Context(calibration=INPUTS)
    fresh = reestimate_batch_norm(net, ReestimateBatchNorm(batches=2, batch_size=8), context)
    assert fresh.cases == 16
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert [m.training for m in fresh.model] == [False, False, True, False, False]
    assert torch.equal(fresh.model[0].weight, net[0].weight) and torch.equal(fresh.model[1].weight, net[1].weight)
    assert fresh.model[1].num_batches_tracked == 0
    zeros = float((fresh.model[3].running_var == 0).sum())
    assert zeros == 0 and fresh.model[3].running_var.mean() == pytest.approx(1.0, abs=0.05), "dropout was off meanwhile"


def test_as_a_technique_with_training_data_alone():
    config = make("reestimate_batch_norm", {"batches": 1})
    assert technique_of(config).stage is Stage.DISTIL
    context = Context(train=TrainingData(INPUTS, np.zeros(37, int), np.arange(37).astype(str)))
    fresh = apply_all(_net(), (config,), context)
    assert not torch.equal(fresh.stem[1].running_mean, _net().stem[1].running_mean)
    assert "32 cases" in context.notes[0]


def test_what_cannot_be_estimated():
    with pytest.raises(InputError, match="calibration"):
        reestimate_batch_norm(_net(), ReestimateBatchNorm(), Context())
    with pytest.raises(InputError, match="two cases"):
        reestimate_batch_norm(_net(), ReestimateBatchNorm(), Context(calibration=INPUTS[:1]))
    with pytest.raises(TrialError, match=r"stem\.1"):
        broken = np.full_like(INPUTS, np.inf)
        reestimate_batch_norm(_net(), ReestimateBatchNorm(), Context(calibration=broken))
    none = reestimate_batch_norm(nn.Linear(3, 1), ReestimateBatchNorm(), Context(calibration=INPUTS))
    assert none.layers == () and "no batch norm" in none.notes[0]
