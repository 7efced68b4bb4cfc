import argparse
import collections
import io
import pickle
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from primum.errors import InputError, UnsafeInput
from primum.models.checkpoint import load_state_dict

STATE = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.tensor([1.5, -2.0])}
LIGHTNING_PATHS = ("lightning.fabric.utilities.data", "pytorch_lightning.utilities.parsing")


class Marker:
    """Unpickling it makes a file: what a malicious checkpoint would do."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def imitate(monkeypatch):
    """Makes a class that pickles as `module.name`, and takes the module away again."""
    made = []

    def make(module, name, *bases, **body):
        parts = module.split(".")
        for i in range(len(parts)):
            path = ".".join(parts[: i + 1])
            if path in made:
                continue
            monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
            made.append(path)
        cls = type(name, bases, {**body, "__module__": module, "__qualname__": name})
        setattr(sys.modules[module], name, cls)
        return cls

    def forget():
        for path in made:
            monkeypatch.delitem(sys.modules, path)
        made.clear()

    make.forget = forget
    return make


def same(one, other):
    return list(one) == list(other) and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("wrap", [dict, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model_state_dict": s}])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", ["pt", "pth", "ckpt"])
def test_weights_come_back_from_every_shape_of_file(tmp_path, wrap, zipped, suffix):
    path = tmp_path / f"w.{suffix}"
    torch.save(wrap(collections.OrderedDict(STATE)), path, _use_new_zipfile_serialization=zipped)
    assert same(load_state_dict(path), STATE)


def test_safetensors(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    got = load_state_dict(tmp_path / "w.safetensors")
    assert {k: v.tolist() for k, v in got.items()} == {k: v.tolist() for k, v in STATE.items()}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_dtypes_are_kept(tmp_path, dtype):
    torch.save({"x": torch.ones(2, dtype=dtype)}, tmp_path / "w.pt")
    assert load_state_dict(tmp_path / "w.pt")["x"].dtype == dtype


def lightning(hyper_parameters, **more):
    return {
        "epoch": 7,
        "global_step": 700,
        "pytorch-lightning_version": "2.5.1",
        "state_dict": collections.OrderedDict(STATE),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 7}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'auroc'}": {"best_model_score": torch.tensor(0.9), "dirpath": "x"}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-3}]}],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": hyper_parameters,
        **more,
    }


@pytest.mark.parametrize("module", LIGHTNING_PATHS)
def test_a_lightning_checkpoint_yields_its_weights(tmp_path, imitate, module):
    """As `save_hyperparameters()` writes them; Lightning itself need not be installed."""
    parameters = imitate(module, "AttributeDict", dict)(lr=1e-3, layers=[1, 2], nested={"a": None})
    parameters.__dict__["extra"] = 1
    torch.save(lightning(parameters, arguments=argparse.Namespace(lr=1), root=Path("/data")), tmp_path / "l.ckpt")
    imitate.forget()
    assert module not in sys.modules
    assert same(load_state_dict(tmp_path / "l.ckpt"), STATE)
    assert module not in sys.modules, "nothing is imported for it"


def test_a_lightning_checkpoint_with_omegaconf_parameters(tmp_path, imitate):
    """What OmegaConf 2.3 pickles: objects with a state, of classes of its own, and a few builtins."""
    state = {"__getstate__": lambda self: self.__dict__, "__setstate__": lambda self, s: self.__dict__.update(s)}
    made = {
        name: imitate(f"omegaconf.{module}", name, object, **state)()
        for module, name in (
            ("base", "Metadata"),
            ("base", "ContainerMetadata"),
            ("nodes", "AnyNode"),
            ("listconfig", "ListConfig"),
            ("dictconfig", "DictConfig"),
        )
    }
    from typing import Any

    made["ContainerMetadata"].__dict__.update(ref_type=Any, key_type=Any, object_type=dict, resolver_cache={})
    made["AnyNode"].__dict__.update(_metadata=made["Metadata"], _val=0.001)
    made["ListConfig"].__dict__.update(_content=[made["AnyNode"]], kind=list, flags=collections.defaultdict(dict))
    made["DictConfig"].__dict__.update(_metadata=made["ContainerMetadata"], _content={"x": made["ListConfig"]}, t=int)
    torch.save(lightning(made["DictConfig"]), tmp_path / "o.ckpt")
    imitate.forget()
    assert same(load_state_dict(tmp_path / "o.ckpt"), STATE)


def hide_in_parameters(evil, imitate):
    return lightning(imitate(LIGHTNING_PATHS[0], "AttributeDict", dict)(lr=evil))


def hide_in_the_parameters_state(evil, imitate):
    parameters = imitate(LIGHTNING_PATHS[0], "AttributeDict", dict)()
    parameters.__dict__["lr"] = evil
    return lightning(parameters)


EVIL = {
    "alone": lambda evil, _: evil,
    "among the weights": lambda evil, _: {"a": torch.zeros(1), "b": evil},
    "beside the weights": lambda evil, _: {"state_dict": STATE, "epoch": evil},
    "as a key": lambda evil, _: {evil: torch.zeros(1)},
    "in hyper_parameters": hide_in_parameters,
    "in the state of hyper_parameters": hide_in_the_parameters_state,
    "in a callback": lambda evil, _: lightning({}, callbacks={"c": [evil]}),
    "in a defaultdict": lambda evil, _: lightning(collections.defaultdict(None, x=evil)),
    "in a namespace": lambda evil, _: lightning(argparse.Namespace(x=evil)),
}


@pytest.mark.parametrize("where", EVIL)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, imitate, where, zipped):
    marker, path = tmp_path / "ran", tmp_path / "evil.ckpt"
    torch.save(EVIL[where](Marker(marker), imitate), path, _use_new_zipfile_serialization=zipped)
    imitate.forget()
    with pytest.raises(UnsafeInput, match=r"evil\.ckpt: refused.*nothing was run"):
        load_state_dict(path)
    assert not marker.exists()


def test_the_marker_does_fire_when_it_is_unpickled(tmp_path):
    torch.save(Marker(tmp_path / "ran"), tmp_path / "evil.pt")
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "ran").exists()


def test_a_plain_pickle_is_refused_whatever_its_name(tmp_path):
    for name in ("evil.pt", "evil.bin", "evil"):
        (tmp_path / name).write_bytes(pickle.dumps({"w": Marker(tmp_path / "ran")}))
        with pytest.raises(InputError):
            load_state_dict(tmp_path / name)
    (tmp_path / "evil.safetensors").write_bytes(pickle.dumps(Marker(tmp_path / "ran")))
    with pytest.raises(InputError, match="not a safetensors"):
        load_state_dict(tmp_path / "evil.safetensors")
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_module_is_refused_with_the_way_out(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(UnsafeInput, match=r"Linear.*save_file\(model\.state_dict\(\)"):
        load_state_dict(tmp_path / "model.pt")


def test_the_weights_of_a_torchscript_file_are_read(tmp_path):
    net = torch.nn.Linear(2, 2)
    torch.jit.script(net).save(tmp_path / "script.pt")
    found = load_state_dict(tmp_path / "script.pt")
    assert found.keys() == {"weight", "bias"} and torch.equal(found["weight"], net.weight)


NOT_CHECKPOINTS = {
    "empty": b"",
    "text": b"hello, this is no checkpoint",
    "json": b'{"state_dict": {}}',
    "png": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "noise": np.random.default_rng(3).bytes(500),
    "zip": b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("what", NOT_CHECKPOINTS)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_what_is_no_checkpoint_is_no_accusation(tmp_path, what, suffix):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(NOT_CHECKPOINTS[what])
    with pytest.raises(InputError, match=r"x\.\w+: not a \w+ (file )?that can be read") as caught:
        load_state_dict(path)
    assert not isinstance(caught.value, UnsafeInput) and "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    for name in ("none.pt", "none.safetensors", "."):
        with pytest.raises(InputError):
            load_state_dict(tmp_path / name)


@pytest.mark.parametrize("content", [{}, [torch.zeros(1)], {"w": 1}, {"state_dict": {}}, torch.zeros(2), 3, {"a": {}}])
def test_data_that_are_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(InputError, match="holds no state dict"):
        load_state_dict(tmp_path / "x.pt")


def compressed(source, target):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))


def test_a_checkpoint_that_unpacks_to_more_than_it_is_gets_refused(tmp_path):
    """torch writes weights uncompressed: one that shrinks is a zip bomb."""
    torch.save({"w": torch.zeros(4_000_000)}, tmp_path / "plain.pt")
    compressed(tmp_path / "plain.pt", tmp_path / "bomb.pt")
    assert (tmp_path / "bomb.pt").stat().st_size < 100_000
    with pytest.raises(UnsafeInput, match="unpacks"):
        load_state_dict(tmp_path / "bomb.pt")


def saved(zipped):
    buffer = io.BytesIO()
    torch.save(STATE, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def safetensors_bytes():
    from safetensors.torch import save

    return save(STATE)


FILES = {"zip.pt": saved(True), "legacy.pt": saved(False), "x.safetensors": safetensors_bytes()}


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@settings(deadline=None, max_examples=120)
def test_a_damaged_file_gives_tensors_or_an_input_error(tmp_path_factory, name, data):
    raw = bytearray(FILES[name])
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=4)):
        raw[at] = value
    raw = raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(raw)
    try:
        assert all(isinstance(t, torch.Tensor) for t in load_state_dict(path).values())
    except InputError as error:
        assert name in str(error)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_an_input_error_at_every_length(tmp_path, name):
    path, raw = tmp_path / name, FILES[name]
    for length in range(0, len(raw) - 1, 7):
        path.write_bytes(raw[:length])
        with pytest.raises(InputError, match=name) as caught:
            load_state_dict(path)
        # In the legacy format a class name that is cut short reads as the name of another class.
        assert name == "legacy.pt" or not isinstance(caught.value, UnsafeInput)
