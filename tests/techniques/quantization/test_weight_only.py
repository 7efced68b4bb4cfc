"""Weight-only precisions: bytes, error, what is refused before any work."""

import copy

import pytest
import quantizable
import torch
from torch import nn

from primum.errors import TrialError
from primum.hardware.machine import this_machine
from primum.techniques.quantization.sizes import stored_bytes
from primum.techniques.quantization.weight_only import WeightOnly, quantize_weights
from primum.techniques.registry import Context, apply_all, obstacle

ALL = [
    ("int8", "torchao"),
    ("int4", "torchao"),
    ("int8", "bitsandbytes"),
    ("nf4", "bitsandbytes"),
    ("fp4", "bitsandbytes"),
]
LEAST_RATIO = {"int8": 3.5, "int4": 4.8, "nf4": 6.0, "fp4": 6.0}
MOST_ERROR = {"int8": 0.02, "int4": 0.25, "nf4": 0.25, "fp4": 0.35}


def wide() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 32)).eval()


@pytest.mark.parametrize(("dtype", "backend"), ALL)
def test_weights_shrink_and_outputs_stay_near(dtype, backend):
    pytest.importorskip(backend)
    net, x = wide(), torch.randn(16, 128, generator=torch.Generator().manual_seed(1))
    made, skipped = quantize_weights(net, dtype, backend)
    assert not skipped
    assert not any(p.requires_grad for p in made.parameters())
    size = stored_bytes(made)
    assert stored_bytes(net) / size > LEAST_RATIO[dtype]
    exact, near = net(x).detach(), made(x)  # gradients on: packed weights with biases must not be in their way
    assert 0 < float((near - exact).norm() / exact.norm()) < MOST_ERROR[dtype]
    assert torch.equal(net(x), exact), "the original was changed"


@pytest.mark.parametrize(("dtype", "backend"), ALL)
def test_what_is_saved_after_a_call_is_what_was_saved_before(dtype, backend):
    pytest.importorskip(backend)
    made, _ = quantize_weights(wide(), dtype, backend)
    x = torch.randn(4, 128)
    size, twin = stored_bytes(made), copy.deepcopy(made)
    first = made(x)
    assert torch.equal(made(x), first) and torch.equal(twin(x), first) and stored_bytes(made) == size
    if backend == "bitsandbytes" and dtype != "int8":
        state, later = twin.state_dict(), made.state_dict()
        assert all(torch.equal(state[key], later[key]) for key in state)


def test_convolutions_have_no_such_form():
    pytest.importorskip("torchao")
    with pytest.raises(TrialError, match=r"nothing to convert.*convolutions.*this model has Conv2d"):
        quantize_weights(nn.Sequential(nn.Conv2d(1, 2, 1)), "int8")
    context = Context()
    apply_all(quantizable.residual(), (WeightOnly(),), context)
    assert [n.split()[0] for n in context.notes[1:]] == ["stem.0", "first", "second"]


def test_layers_that_do_not_fit_into_groups_are_named():
    pytest.importorskip("torchao")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))
    made, skipped = quantize_weights(net, "int4")
    assert [s.name for s in skipped] == ["0", "4"] and "groups of 32" in skipped[0].why
    assert made(torch.ones(2, 8)).shape == (2, 3)
    with pytest.raises(TrialError, match="no Linear layer fits"):
        quantize_weights(quantizable.mlp(), "int4")


def test_what_a_library_does_not_have_is_known_beforehand():
    machine = this_machine()
    assert "use bitsandbytes" in obstacle(WeightOnly(dtype="nf4"), machine)
    assert "use torchao" in obstacle(WeightOnly(dtype="int4", backend="bitsandbytes"), machine)
    with pytest.raises(TrialError, match="not nf4"):
        quantize_weights(wide(), "nf4", "torchao")
    pytest.importorskip("torchao")
    assert obstacle(WeightOnly(), machine) is None


def test_an_encoder_has_its_attention_converted_too():
    pytest.importorskip("torchao")
    net, x = quantizable.encoder(), torch.from_numpy(quantizable.inputs((6, 8)))
    made, skipped = quantize_weights(net)
    assert not skipped
    with torch.no_grad():
        torch.testing.assert_close(made(x), net(x), atol=0.03, rtol=0.03)
