"""The names of the specification, as its examples call them."""

import json
import warnings

import pruning_nets as nets
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from primum.errors import InputError
from primum.techniques.context import Context
from primum.techniques.pruning import (
    ModelPruner,
    PruningConfig,
    PruningMethod,
    compare,
    prune_model,
    structured_pruning,
)
from primum.techniques.pruning.remove import parameters

EXAMPLE = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nets.ready(nets.ResNet())


def test_the_example_of_document_003(model):
    pruning_config = PruningConfig(
        method="magnitude",
        amount=0.3,
        pruning_dims=["weight"],
        n_iterations=3,
    )
    pruner = ModelPruner(model, pruning_config)
    pruned_model = pruner.prune_model()
    pruning_info = pruner.get_pruning_info()
    assert pruning_info["final_sparsity"] == pytest.approx(0.3, abs=1e-3)
    assert pruning_info["parameters_after"] == parameters(pruned_model) == pruning_info["parameters_before"]
    assert pruning_info["compression_ratio"] == 1.0
    assert pruning_info["layers"]["head"]["sparsity"] == pytest.approx(0.3, abs=0.01)
    assert any("3 iterations" in note for note in pruning_info["notes"])
    json.dumps(pruning_info)


def test_verbs_of_document_003_and_004(model):
    with pytest.warns(UserWarning, match="only when compressed"):
        zeroed = prune_model(model, method="magnitude", amount=0.4)
    context = Context()
    assert parameters(prune_model(model, amount=0.3, context=context)) == parameters(model) and context.notes
    pytest.importorskip("torch_pruning")
    with pytest.warns(UserWarning, match=r"guessed shape \(3, 64, 64\).*channels removed"):
        smaller = structured_pruning(model, amount=0.3)
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            prune.l1_unstructured(module, "weight", 0.4)
            assert torch.equal(module.weight, dict(zeroed.named_modules())[name].weight)
    assert parameters(smaller) < 0.75 * parameters(zeroed)
    assert smaller(EXAMPLE).shape == (4, 3)


def test_gradual_reports_its_steps(model):
    pruner = ModelPruner(model, PruningConfig(method=PruningMethod.GRADUAL, amount=0.6, n_iterations=2))
    pruner.prune_model()
    assert pruner.get_pruning_info()["final_sparsity"] == pytest.approx(0.6, abs=1e-3)
    assert any("52.5%, 60%" in note for note in pruner.get_pruning_info()["notes"])


@pytest.mark.parametrize("method", ["structured", "activation"])
def test_removed_channels_in_numbers(model, method):
    pytest.importorskip("torch_pruning")
    pruner = ModelPruner(model, PruningConfig(method=method, amount=0.5), example_inputs=EXAMPLE)
    pruned = pruner.prune_model()
    info = pruner.get_pruning_info()
    layer = info["layers"]["stages.1.conv1"]
    assert (layer["shape_before"], layer["shape_after"]) == ((32, 16, 3, 3), (16, 8, 3, 3))
    assert layer["sparsity"] == 0.75 and layer["flops_before"] == 4 * layer["flops_after"]
    assert info["final_sparsity"] == pytest.approx(1 - info["parameters_after"] / info["parameters_before"], abs=0.02)
    assert info["compression_ratio"] > 3 and info["flops_after"] < 0.4 * info["flops_before"]
    assert parameters(pruned) == info["parameters_after"]


def test_flops_by_hand():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))
    info = compare(net, net, torch.zeros(1, 3, 8, 8))
    assert info.layers["0"].flops_before == 2 * 4 * 3 * 9 * 36
    assert info.layers["2"].flops_before == 2 * 144 * 5
    assert info.flops_before == 2 * 4 * 3 * 9 * 36 + 2 * 144 * 5
    assert info.size_bytes_before == 4 * parameters(net)
    assert compare(net, net).flops_before is None


def test_what_is_refused(model):
    config = PruningConfig()
    config.amount = 0.5
    pruner = ModelPruner(model, config)
    with pytest.raises(InputError, match="in use"):
        config.amount = 0.4
    with pytest.raises(InputError, match="prune_model"):
        pruner.get_pruning_info()
    with pytest.raises(InputError, match="magnitude, structured, gradual, activation"):
        prune_model(model, method="random")
    with pytest.raises(InputError, match="share"):
        prune_model(model, amount=30)
    with pytest.raises(InputError, match="calibration"):
        prune_model(model, method="activation")
    odd = nn.Sequential(nn.Unflatten(1, (1, 7, 7)), nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(100, 2))
    with pytest.raises(InputError, match="example_inputs"):
        structured_pruning(odd)


def test_zero_changes_nothing(model):
    for method in PruningMethod:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            same = prune_model(model, method, 0.0, example_inputs=EXAMPLE)
        assert same is not model
        assert all(torch.equal(a, b) for a, b in zip(same.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("method", ["structured", "activation"])
def test_settings_without_a_meaning_for_channels_are_said(model, method):
    pytest.importorskip("torch_pruning")
    config = PruningConfig(method=method, amount=0.5, n_iterations=3, pruning_dims=["bias"])
    pruner = ModelPruner(model, config, example_inputs=EXAMPLE)
    pruner.prune_model()
    notes = " ".join(pruner.get_pruning_info()["notes"])
    assert "3 iterations with no training between" in notes and "not from bias alone" in notes
    plain = ModelPruner(model, PruningConfig(method=method, amount=0.5), example_inputs=EXAMPLE)
    plain.prune_model()
    assert "iterations" not in " ".join(plain.get_pruning_info()["notes"])
