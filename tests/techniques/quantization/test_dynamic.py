"""Dynamic INT8: which layers, what they store, what stays."""

import numpy as np
import pytest
import quantizable
import torch
from torch import nn

from primum.errors import TrialError
from primum.techniques.quantization.dynamic import DynamicInt8, quantize_dynamic_int8
from primum.techniques.quantization.sizes import stored_bytes
from primum.techniques.registry import Context, apply_all, technique_of

NETS = {
    "mlp": (quantizable.mlp, (8,), 2),
    "lstm": (quantizable.recurrent, (6, 8), 2),
    "gru": (lambda: quantizable.recurrent(nn.GRU), (6, 8), 2),
    "encoder": (quantizable.encoder, (6, 8), 2 + 2 * 6),
}


def quantized_layers(net: nn.Module) -> int:
    kinds = [(type(m).__name__, type(m).__module__) for m in net.modules()]
    return sum(name in ("Linear", "LSTM", "GRU") and "quantized.dynamic" in module for name, module in kinds)


@pytest.mark.parametrize("kind", NETS)
def test_every_linear_and_recurrent_layer_becomes_int8(kind):
    make, shape, layers = NETS[kind]
    net, x = make(), torch.from_numpy(quantizable.inputs(shape))
    made, skipped = quantize_dynamic_int8(net)
    with torch.no_grad():
        exact, near = net(x), made(x)
    assert not skipped and quantized_layers(made) == layers
    assert 0 < float((near - exact).abs().max()) < 0.1 * float(exact.abs().max() + 1)
    assert all(p.dtype is torch.float32 for p in net.parameters()), "the original was changed"


def test_weights_take_a_quarter():
    net = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512))
    made, _ = quantize_dynamic_int8(net)
    assert 3.7 < stored_bytes(net) / stored_bytes(made) < 4.1


def test_convolutions_stay_and_are_named():
    net, context = quantizable.residual(), Context()
    made = apply_all(net, (DynamicInt8(),), context)
    named = [note.split()[0] for note in context.notes]
    assert named == ["stem.0", "first", "second"] and "use static INT8" in context.notes[0]
    assert "quantized.dynamic" in type(made.head).__module__
    assert technique_of(DynamicInt8()).torch_only


def test_a_model_without_such_layers_is_refused():
    with pytest.raises(TrialError, match="none that it can convert"):
        quantize_dynamic_int8(nn.Sequential(nn.Conv2d(1, 1, 1)))


def test_a_single_linear_layer_and_the_setting_of_the_process():
    before = torch.backends.quantized.engine
    made, _ = quantize_dynamic_int8(nn.Linear(16, 4))
    assert "quantized.dynamic" in type(made).__module__ and torch.backends.quantized.engine == before
    assert np.isfinite(made(torch.ones(1, 16)).detach().numpy()).all()


@pytest.mark.parametrize("settings", [{"bias": False}, {"proj_size": 4}])
def test_recurrent_layers_that_torch_cannot_convert_stay(settings):
    net = quantizable.recurrent()
    net.core = nn.LSTM(8, 16, batch_first=True, **settings)
    net.head = nn.Linear(settings.get("proj_size", 16), 3)
    x = torch.from_numpy(quantizable.inputs((6, 8)))
    made, skipped = quantize_dynamic_int8(net.eval())
    assert [(s.name, s.kind) for s in skipped] == [("core", "LSTM")] and "biases" in skipped[0].why
    with torch.no_grad():
        assert float((made(x) - net(x)).abs().max()) < 0.05
    with pytest.raises(TrialError, match="none that it can convert"):
        quantize_dynamic_int8(nn.Sequential(net.core))
