import sys
import types

import pytest
import torch
from torch import nn

from primum.errors import InputError
from primum.models.digest import digest
from primum.models.reference import ModelReference
from primum.models.torch_module import build


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.body(x))


@pytest.fixture
def factory(monkeypatch):
    """Makes `module:build` importable and returns that name."""

    def make(function=Net, module="fixture_factory_module"):
        made = types.ModuleType(module)
        made.build = function
        monkeypatch.setitem(sys.modules, module, made)
        return f"{module}:build"

    return make


@pytest.fixture
def saved(tmp_path):
    def save(state, name="w.pt"):
        torch.save(state, tmp_path / name)
        return tmp_path / name

    return save


def prefixed(state, prefix, only=lambda key: True):
    return {(prefix + k if only(k) else k): v for k, v in state.items()}


def test_weights_are_fitted_and_the_module_is_in_eval_mode(factory, saved):
    source = Net()
    built = build(ModelReference(factory=factory(), checkpoint=saved(source.state_dict())))
    assert not built.module.training and built.notes == ()
    assert all(torch.equal(a, b) for a, b in zip(source.state_dict().values(), built.module.state_dict().values()))


@pytest.mark.parametrize("prefix", ["model.", "module.", "net.backbone."])
def test_a_prefix_of_all_keys_is_removed_and_reported(factory, saved, prefix):
    source = Net()
    path = saved({"state_dict": prefixed(source.state_dict(), prefix)})
    built = build(ModelReference(factory=factory(), checkpoint=path))
    assert built.notes == (f"removed the prefix {prefix!r} from every key of the checkpoint",)
    assert torch.equal(built.module.head.weight, source.head.weight)


def test_a_prefix_of_some_keys_is_not_removed(factory, saved):
    path = saved(prefixed(Net().state_dict(), "model.", only=lambda key: key.startswith("body")))
    with pytest.raises(InputError, match=r"7 missing \(first: body.0.bias\), 7 unknown \(first: model.body.0.bias\)"):
        build(ModelReference(factory=factory(), checkpoint=path))


def test_a_prefix_that_belongs_to_the_network_stays(factory, saved):
    inner = nn.Sequential()
    inner.add_module("model", nn.Linear(2, 2))
    built = build(ModelReference(factory=factory(lambda: inner), checkpoint=saved(inner.state_dict())))
    assert built.notes == ()


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_keys_that_do_not_fit_are_counted_and_named(factory, saved, change):
    state = Net().state_dict()
    if change == "missing":
        del state["head.bias"]
    else:
        state["tail.bias"] = torch.zeros(1)
    named = {"missing": r"1 missing \(first: head\.bias\)", "unknown": r"1 unknown \(first: tail\.bias\)"}
    with pytest.raises(InputError, match=named[change]):
        build(ModelReference(factory=factory(), checkpoint=saved(state)))


def test_a_prefix_does_not_excuse_a_missing_key(factory, saved):
    state = prefixed(Net().state_dict(), "model.")
    del state["model.head.bias"]
    with pytest.raises(InputError, match=r"keys do not fit.*unknown \(first: model\.body"):
        build(ModelReference(factory=factory(), checkpoint=saved(state)))


def test_another_shape_is_named(factory, saved):
    state = Net().state_dict() | {"head.weight": torch.zeros(2, 4)}
    with pytest.raises(InputError, match=r"head\.weight has shape \(2, 4\), the network needs \(1, 4\)"):
        build(ModelReference(factory=factory(), checkpoint=saved(state)))


def test_tensors_that_cannot_be_copied_are_an_input_error(factory, saved):
    state = Net().state_dict() | {"head.weight": torch.zeros(1, 4).to_sparse()}
    with pytest.raises(InputError, match="do not fit"):
        build(ModelReference(factory=factory(), checkpoint=saved(state)))


@pytest.mark.parametrize("value", [None, 3, {"a": torch.zeros(1)}, Net])
def test_a_factory_that_returns_no_module_is_named(factory, value):
    with pytest.raises(InputError, match=f"returned {type(value).__name__}, not a torch.nn.Module"):
        build(ModelReference(factory=factory(lambda: value)))


def test_an_onnx_reference_has_no_module(tmp_path):
    with pytest.raises(InputError, match="no torch module"):
        build(ModelReference(onnx=tmp_path / "x.onnx"))


def test_the_digest_of_a_live_module_follows_weights_and_buffers():
    net = Net()
    first = digest(ModelReference(module=net))
    assert digest(ModelReference(module=net)) == first and len(first) == 64
    twin = Net()
    twin.load_state_dict(net.state_dict())
    assert digest(ModelReference(module=twin)) == first
    for change in (net.head.bias.data, net.body[1].running_mean):
        before = digest(ModelReference(module=net))
        change[0] += 1e-6
        assert digest(ModelReference(module=net)) != before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_dtype_has_a_digest_of_its_own(dtype):
    net = nn.Linear(2, 2)
    before = digest(ModelReference(module=net))
    assert digest(ModelReference(module=net.to(dtype))) != before


def test_the_digest_follows_shape_where_the_bytes_are_the_same():
    class Bag(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.x = nn.Parameter(torch.zeros(shape))

    assert digest(ModelReference(module=Bag((2, 3)))) != digest(ModelReference(module=Bag((3, 2))))
