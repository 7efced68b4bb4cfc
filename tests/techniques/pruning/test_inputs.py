"""What pruning is given, what it leaves as it is, and what it counts."""

import pytest
import torch
from nets import Tokens
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import primum
from primum.errors import InputError, TrialError
from primum.techniques.operations import count_operations
from primum.techniques.pruning import ModelPruner, PruningConfig
from primum.techniques.registry import Context


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.encoder(x).mean(1))


class Recurrent(nn.Module):
    def __init__(self, kind=nn.LSTM, packed=False):
        super().__init__()
        self.inner = nn.Sequential()
        self.inner.add_module("layer", kind(8, 16, 2, batch_first=True, bidirectional=True))
        self.head, self.packed = nn.Linear(32, 2), packed

    def forward(self, x):
        if self.packed:
            lengths = torch.full((len(x),), x.shape[1])
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
            return self.head(nn.utils.rnn.pad_packed_sequence(self.inner(packed)[0], batch_first=True)[0][:, -1])
        return self.head(self.inner(x)[0][:, -1])


def image_net():
    return nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(16, 2))  # fmt: skip


def test_operations_of_a_transformer_are_all_counted():
    length, width, wide = 12, 16, 32
    net, x = Encoder().eval(), torch.randn(1, length, width)
    layer = 4 * length * width * width + 2 * length * length * width + 2 * length * width * wide
    pruner = ModelPruner(net, PruningConfig(), example_inputs=x)
    pruner.prune_model()
    assert pruner.get_pruning_info()["flops_before"] == 2 * (2 * layer + width * 2)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_operations_of_recurrent_layers_are_those_of_their_formula(kind, gates):
    counted = count_operations(Recurrent(kind).eval(), torch.randn(1, 12, 8))
    layer = 2 * 12 * 2 * gates * 16 * ((8 + 16) + (32 + 16))
    assert counted.by_module["inner.layer"] == layer == counted.by_module["inner"]
    assert counted.total == layer + 2 * 32 * 2 and counted.note is None


def test_packed_sequences_are_not_counted_and_this_is_said():
    pruner = ModelPruner(Recurrent(packed=True), PruningConfig(), example_inputs=torch.randn(1, 12, 8))
    pruner.prune_model()
    found = pruner.get_pruning_info()
    assert found["flops_before"] is None
    assert any("operations are not counted: inner.layer" in note for note in found["notes"])


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.normed, self.spectral = weight_norm(nn.Conv1d(4, 8, 1)), spectral_norm(nn.Linear(8, 8))
        self.recurrent, self.attention = nn.LSTM(8, 8, batch_first=True), nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x = self.spectral(self.normed(x.transpose(1, 2)).transpose(1, 2))
        x = self.recurrent(x)[0]
        return self.head(self.attention(x, x, x)[0].mean(1))


@pytest.mark.parametrize("method", ["magnitude", "gradual"])
def test_layers_that_stay_are_named_and_count_in_the_sparsity(method):
    pruner = ModelPruner(Mixed(), PruningConfig(method=method, amount=0.5), example_inputs=torch.randn(1, 5, 4))
    pruner.prune_model()
    found = pruner.get_pruning_info()
    text = " ".join(found["notes"])
    for name, why in (("normed, spectral", "made anew"), ("recurrent", "recurrent"), ("attention", "packed")):
        assert f"not pruned: {name} (" in text and why in text
    reached = 8 * 8 + 2 * 8  # the attention's last projection, and the head
    every = 4 * 8 + 8 * 8 + 2 * 4 * 8 * 8 + 3 * 8 * 8 + reached
    assert found["final_sparsity"] == pytest.approx(reached * 0.5 / every)


def test_nothing_to_prune_says_what_there_is():
    with pytest.raises(InputError, match=r"nothing to prune.*not pruned: 0 \(recurrent"):
        primum.prune_model(nn.Sequential(nn.LSTM(4, 4)), context=Context())


def test_structured_pruning_says_why_a_normed_weight_stays():
    net = nn.Sequential(weight_norm(nn.Conv2d(1, 16, 3)), nn.ReLU(), spectral_norm(nn.Conv2d(16, 16, 3)), nn.Flatten(),
                        nn.Linear(16 * 16, 2))  # fmt: skip
    with pytest.raises(TrialError, match="the weight of 0 is made anew from other parameters") as caught:
        primum.prune_model(net, "structured", 0.5, example_inputs=torch.randn(1, 1, 8, 8))
    assert "already exists" not in str(caught.value)


@pytest.mark.parametrize("method", ["magnitude", "structured", "activation", "gradual"])
@pytest.mark.parametrize(
    ("example", "why"),
    [
        (torch.randn(1, 3, 8, 8), r"does not take example_inputs of shape \(N, 3, 8, 8\)"),
        ((torch.randn(1, 1, 8, 8),), "one tensor or array.*not tuple"),
        ({"x": torch.randn(1, 1, 8, 8)}, "not dict"),
    ],
)
def test_example_inputs_that_do_not_fit_are_named(method, example, why):
    with pytest.raises(InputError, match=why):
        primum.prune_model(image_net(), method, example_inputs=example)


def test_models_and_amounts_that_are_none_are_named():
    with pytest.raises(InputError, match="a torch module is needed to prune, not str"):
        primum.prune_model("x")
    with pytest.raises(InputError, match="amount must be a number"):
        primum.prune_model(image_net(), amount="0.3")


@pytest.mark.parametrize("method", ["magnitude", "structured", "activation", "gradual"])
def test_token_ids_stay_whole(method):
    ids = torch.randint(0, 50, (4, 9))
    pruner = ModelPruner(Tokens(), PruningConfig(method=method, amount=0.5), example_inputs=ids)
    assert pruner.prune_model()(ids).shape == (4, 2)
    found = pruner.get_pruning_info()
    assert found["flops_before"] == 2 * (9 * 16 * 32 + 32 * 2)
    if method in ("structured", "activation"):
        assert found["layers"]["hidden"]["shape_after"] == (16, 16)


def test_a_function_that_does_not_fit_is_refused_before_pruning(monkeypatch):
    reducer = primum.ModelReducer()
    monkeypatch.setattr("primum.techniques.reducer.prune_by", lambda *a, **k: pytest.fail("pruned first"))
    with pytest.raises(InputError, match=r"must take \(model, test_data\)"):
        reducer.apply_pruning(image_net(), validation_function=lambda m: 0.9)
    with pytest.raises(InputError, match="validation_function failed: ZeroDivisionError"):
        reducer.apply_pruning(image_net(), validation_function=lambda m, d: 1 / 0)
    with pytest.raises(InputError, match="must return a number"):
        reducer.apply_pruning(image_net(), validation_function=lambda m, d: None)
    with pytest.raises(InputError, match="must be a function"):
        reducer.apply_pruning(image_net(), validation_function=0.9)
