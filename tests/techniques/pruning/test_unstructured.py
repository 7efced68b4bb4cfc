"""Zeroed weights: against torch's own pruning, the schedule of the paper, and N:M by its definition."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import quantizable
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from primum.errors import InputError
from primum.hardware.machine import this_machine
from primum.techniques.context import TrainingData
from primum.techniques.pruning import (
    PruneGradually,
    PruneNOfM,
    PruneWeights,
    prune_gradually,
    prune_n_of_m,
    prune_weights,
)
from primum.techniques.pruning import schedule as cubic
from primum.techniques.pruning.semi_structured import SPARSE_CORES, keep_n_of_m
from primum.techniques.registry import Context, apply_all, make, obstacle


def _net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.Flatten(), nn.Linear(8 * 16, 4), nn.LayerNorm(4)
    ).eval()


def _tensors(net: nn.Module, name: str = "weight") -> list[tuple[nn.Module, str]]:
    return [(m, name) for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


@given(st.floats(0, 0.99), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_parity_with_torch(amount, seed):
    layerwise, everywhere = _net(seed), _net(seed)
    for module, name in _tensors(layerwise):
        prune.l1_unstructured(module, name, amount)
    prune.global_unstructured(_tensors(everywhere), prune.L1Unstructured, amount=amount)
    for scope, theirs in (("layer", layerwise), ("global", everywhere)):
        net = _net(seed)
        ours = prune_weights(net, PruneWeights(amount=amount, scope=scope)).model
        for (a, _), (b, _) in zip(_tensors(ours), _tensors(theirs), strict=True):
            assert torch.equal(a.weight, b.weight)
        assert all(torch.equal(p, q) for p, q in zip(net.parameters(), _net(seed).parameters()))


def test_counts_notes_and_biases():
    result = prune_weights(_net(), PruneWeights(amount=0.5, parameters=("weight", "bias")))
    assert result.sparsity == pytest.approx(0.5, abs=1e-3)
    assert any(bool((m.bias == 0).any()) for m, _ in _tensors(result.model))
    assert "only when compressed" in result.notes[0] and str(result.zeros) in result.notes[0]
    with pytest.raises(InputError, match="nothing to prune"):
        prune_weights(nn.ReLU(), PruneWeights())


def test_a_shared_layer_is_pruned_once():
    shared = nn.Linear(8, 8)
    result = prune_weights(nn.Sequential(shared, shared), PruneWeights(amount=0.25))
    assert (result.zeros, result.weights) == (16, 64)


@given(st.floats(0.01, 0.99), st.integers(1, 12), st.floats(0, 1))
def test_cubic_schedule(final, steps, part):
    initial = final * part
    path = cubic(final, steps, initial)
    assert len(path) == steps and path[-1] == pytest.approx(final)
    rises = np.diff([initial, *path])
    assert (rises >= -1e-12).all() and (np.diff(rises) <= 1e-12).all(), "every step adds no more than the one before"


def test_schedule_of_the_paper():
    assert cubic(0.8, 4) == pytest.approx((0.4625, 0.7, 0.7875, 0.8))


def test_gradual_without_training_is_one_shot_and_says_so():
    gradual = prune_gradually(_net(), PruneGradually(amount=0.6, n_iterations=4))
    once = prune_weights(_net(), PruneWeights(amount=0.6))
    assert all(torch.equal(a, b) for a, b in zip(gradual.model.parameters(), once.model.parameters()))
    assert any("no fine-tuning" in note for note in gradual.notes)


def _train() -> TrainingData:
    rng = np.random.default_rng(0)
    return TrainingData(rng.normal(size=(32, 3, 8, 8)).astype(np.float32), np.arange(32) % 4, np.arange(32).astype(str))


def test_gradual_trains_between_steps_with_zeros_held():
    calls = []

    def fine_tune(model: nn.Module, context: Context) -> None:
        data = context.need_train("test")
        zeros = [(p, p == 0) for p in model.parameters() if p.ndim > 1]
        share = sum(int(z.sum()) for _, z in zeros) / sum(z.numel() for _, z in zeros)
        before = copy.deepcopy(model.state_dict())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
        for _ in range(5):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(torch.from_numpy(data.inputs)), torch.from_numpy(data.labels))
            loss.backward()
            optimizer.step()
        held = all(bool((p[z] == 0).all()) for p, z in zeros)
        moved = any(not torch.equal(v, before[k]) for k, v in model.state_dict().items())
        calls.append((share, held, moved))

    config = PruneGradually(amount=0.6, n_iterations=3)
    result = prune_gradually(_net(), config, Context(train=_train()), fine_tune)
    shares, held, moved = zip(*calls)
    assert shares == pytest.approx(cubic(0.6, 3)[:2], abs=1e-3) and all(held) and all(moved)
    assert result.sparsity == pytest.approx(0.6, abs=1e-3)
    once = prune_weights(_net(), PruneWeights(amount=0.6)).model
    assert not torch.equal(once[0].weight, result.model[0].weight)


@pytest.mark.parametrize("taught", [True, False])
def test_pruning_while_training_recovers_what_pruning_alone_loses(taught, tmp_path):
    data, unseen = quantizable.images(600, 1), quantizable.images(600, 2)
    net = quantizable.fit(quantizable.residual(), data)
    context = Context(
        signature=quantizable.signature((1, 12, 12)), train=data, teacher=net if taught else None, work=tmp_path
    )
    config = make("prune_while_training", {"amount": 0.9, "n_iterations": 3, "epochs": 2, "learning_rate": 3e-3})
    made = apply_all(net, (config,), context)
    alone = prune_gradually(net, PruneGradually(amount=0.9, n_iterations=3)).model
    exact, lost, back = (quantizable.accuracy(m, unseen) for m in (net, alone, made))
    assert exact - lost > 0.1, "nothing was lost that could come back"
    assert back - lost > 0.5 * (exact - lost)
    weights = [p for n, p in made.named_parameters() if p.ndim > 1]
    share = sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)
    assert share == pytest.approx(0.9, abs=0.01), "zeros stayed zero"
    assert any("fine-tuned after each" in note for note in context.notes)
    assert sum(note.startswith("step ") for note in context.notes) == 3
    again = Context(signature=context.signature, train=data, teacher=context.teacher, work=tmp_path)
    taken_up = apply_all(net, (config,), again)
    assert all(torch.equal(a, b) for a, b in zip(made.state_dict().values(), taken_up.state_dict().values()))
    assert any("taken up again" in note for note in again.notes)


def test_fine_tuning_that_cannot_be_is_refused():
    with pytest.raises(InputError, match="train-data"):
        prune_gradually(_net(), PruneGradually(), Context(), lambda model, context: None)

    def replace_layer(model: nn.Module, context: Context) -> None:
        model[0] = nn.Conv2d(3, 8, 3)

    with pytest.raises(InputError, match="in place"):
        prune_gradually(_net(), PruneGradually(), Context(train=_train()), replace_layer)


@given(st.integers(1, 3), st.integers(4, 5), st.integers(0, 20))
@settings(deadline=None)
def test_n_of_m_keeps_the_largest_of_each_block(n, m, seed):
    weight = torch.randn(3, 2 * m, 2, generator=torch.Generator().manual_seed(seed))
    kept = keep_n_of_m(weight, n, m)
    for o, block, k in np.ndindex(3, 2, 2):
        values = weight[o, block * m : (block + 1) * m, k].abs()
        mask = kept[o, block * m : (block + 1) * m, k]
        assert int(mask.sum()) == n and float(values[mask].min()) >= float(values[~mask].max())


def test_two_of_four_leaves_two_of_four():
    result = prune_n_of_m(_net(), PruneNOfM())
    weight = result.model[4].weight.detach()

    assert bool(((weight.reshape(-1, 4) != 0).sum(1) == 2).all())
    assert result.zeros * 2 == result.weights
    assert result.notes[1].endswith("multiple of 4: 0"), "three input channels are no multiple of four"
    with pytest.raises(InputError, match="multiple of 4"):
        prune_n_of_m(nn.Linear(3, 3), PruneNOfM())


def test_two_of_four_is_refused_in_a_study_without_sparse_tensor_cores():
    machine = this_machine()
    assert "sparse tensor cores" in obstacle(PruneNOfM(), machine)
    gpu = replace(machine, features=(*machine.features, SPARSE_CORES))
    assert obstacle(PruneNOfM(), gpu) is None
    assert "faster on no hardware" in obstacle(PruneNOfM(n=1, m=4), gpu)


@pytest.mark.parametrize("name", ["prune_weights", "prune_gradually", "prune_n_of_m"])
def test_as_techniques_they_note_that_zeros_are_not_speed(name):
    context = Context()
    pruned = apply_all(_net(), (make(name, {}),), context)
    assert sum(int((p == 0).sum()) for p in pruned.parameters()) > 50
    assert any("no runtime here faster" in note for note in context.notes)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("prune_weights", {"amount": 1.0}),
        ("prune_gradually", {"amount": 0.2, "initial": 0.3}),
        ("prune_n_of_m", {"n": 4}),
        ("prune_to_latency", {}),
        ("prune_to_latency", {"speedup": 2.0, "milliseconds": 1.0}),
    ],
)
def test_settings_that_cannot_be_are_refused(name, settings):
    with pytest.raises(InputError, match=name):
        make(name, settings)
