import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from primum.errors import InputError, UnsafeInput
from primum.models.digest import digest
from primum.models.reference import ModelReference, find_factory, parse_model


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, path)
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder, importable while the test runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("usercode"):
            del sys.modules[name]


def test_every_form_is_understood(tmp_path, weights):
    (tmp_path / "m.onnx").write_bytes(b"x")
    net = torch.nn.Linear(2, 1)
    assert parse_model("pack.module:build") == ModelReference(factory="pack.module:build")
    assert parse_model("m:f", weights) == ModelReference(factory="m:f", checkpoint=weights)
    assert parse_model("m:f", str(weights)) == ModelReference(factory="m:f", checkpoint=weights)
    assert parse_model(f"m:f@{weights}") == ModelReference(factory="m:f", checkpoint=weights)
    assert parse_model(tmp_path / "m.onnx") == ModelReference(onnx=tmp_path / "m.onnx")
    assert parse_model(net).module is net
    reference = ModelReference(factory="m:f")
    assert parse_model(reference) is reference


def test_a_checkpoint_path_may_hold_an_at_sign(tmp_path, weights):
    there = tmp_path / "run@2" / "w@best.pt"
    there.parent.mkdir()
    there.write_bytes(weights.read_bytes())
    assert parse_model(f"m:f@{there}") == ModelReference(factory="m:f", checkpoint=there)
    with pytest.raises(InputError, match="holds weights but no architecture.*run@2"):
        parse_model(there)


def test_what_a_model_is_called(weights):
    assert str(parse_model("m:f", weights)) == "m:f with w.pt"
    assert str(ModelReference(onnx=Path("/a/b.onnx"))) == "b.onnx"
    assert str(ModelReference(factory="m:f")) == "m:f"
    assert str(parse_model(torch.nn.Linear(1, 1))) == "Linear"


@pytest.mark.parametrize("name", ["model.pt2", "model.PT2", "model.pkl", "m:f@weights.pkl", "m:f@weights.pt2"])
@pytest.mark.parametrize("present", [True, False])
def test_formats_that_run_code_are_refused(here, name, present):
    if present:
        Path(name.split("@")[-1]).write_bytes(b"x")
    with pytest.raises(UnsafeInput, match="refused"):
        parse_model(name)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("weights.pt", "not a model"),
        ("module", "not a model"),
        (":f", "not a model"),
        ("module:", "not a model"),
        ("", "not a model"),
        ("m.onnx", "no such file"),
        ("m:f@none.pt", "no such file"),
        (torch.nn.Linear, "not a model"),
    ],
)
def test_what_names_no_model_says_what_is_accepted(here, reference, message):
    with pytest.raises(InputError, match=message):
        parse_model(reference)


def test_weights_without_an_architecture_say_what_to_give(weights):
    with pytest.raises(InputError, match=f"--model module:factory --checkpoint {weights}"):
        parse_model(weights)


def test_a_factory_in_the_current_folder_is_found(here):
    (here / "usercode_a.py").write_text("def build():\n    return 'built'\n")
    assert find_factory("usercode_a:build")() == "built"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("usercode_nowhere:build", "no module 'usercode_nowhere'"),
        ("usercode_b.deeper:build", "no module"),
        ("usercode_b:nothing", "has no callable 'nothing'"),
        ("usercode_b:NUMBER", "has no callable 'NUMBER'"),
        ("usercode_needs:build", "no module 'usercode_absent'"),
        ("usercode_wants:build", "cannot import name 'gone'"),
        ("usercode_broken:build", r"cannot be imported.*usercode_broken\.py"),
        (".usercode_b:build", "no module can be called"),
        ("..:build", "no module"),
        ("usercode b:build", "no module"),
    ],
)
def test_the_part_that_is_missing_is_named(here, name, message):
    (here / "usercode_b.py").write_text("NUMBER = 3\ndef build():\n    pass\n")
    (here / "usercode_needs.py").write_text("import usercode_absent\n")
    (here / "usercode_wants.py").write_text("from usercode_b import gone\n")
    (here / "usercode_broken.py").write_text("def build(:\n")
    with pytest.raises(InputError, match=message):
        find_factory(name)


def test_the_digest_of_a_checkpoint_follows_its_content_and_its_factory(weights, tmp_path):
    one = digest(parse_model("m:f", weights))
    copy = tmp_path / "copy.pt"
    copy.write_bytes(weights.read_bytes())
    assert digest(parse_model("m:f", copy)) == one, "the name of the file is not part of it"
    assert digest(parse_model("m:g", weights)) != one
    copy.write_bytes(weights.read_bytes() + b"\0")
    assert digest(parse_model("m:f", copy)) != one


def test_the_digest_of_an_onnx_model_follows_weights_that_lie_beside_it(tmp_path):
    """One model in two files: other weights under the same graph are another model."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 1], data_location=TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "w.bin"
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", d]) for n, d in (("x", 2), ("y", 1)))
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [tensor])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    digests = set()
    for value in (1, 2, 2):
        (tmp_path / "w.bin").write_bytes(np.full(2, value, np.float32).tobytes())
        digests.add(digest(parse_model(tmp_path / "m.onnx")))
    assert len(digests) == 2
    (tmp_path / "w.bin").unlink()
    with pytest.raises(InputError, match=r"w\.bin"):
        digest(parse_model(tmp_path / "m.onnx"))
