"""Networks that torch's own techniques made coarser, as TorchScript files: smaller, run as they are, named rightly."""

from pathlib import Path

import numpy as np
import pytest
import quantizable
import torch
from torch import nn

from primum.hardware.machine import this_machine
from primum.models.signature import Signature
from primum.runtimes.base import BuildSource, Target, get_runtime
from primum.techniques.registry import Context, apply_all, make

TARGET = Target(runtime="torchscript", threads=1)
MADE = [
    ("dynamic_int8", {}, "int8-dynamic", 0.3, ""),
    ("static_int8", {}, "int8", 0.3, ""),
    ("bfloat16", {}, "bf16", 0.52, ""),
    ("weight_only", {"dtype": "int8"}, "fp32 (weights stored in int8)", 0.3, "memory and speed are those of FP32"),
    ("weight_only", {"dtype": "int4"}, "int4-weights", 0.25, "packed for CPUs of this kind"),
]


def wide() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(512, 16)).eval()


def built(net: nn.Module, shape: tuple[int, ...], folder: Path) -> tuple[tuple[str, ...], int]:
    outputs = net(torch.zeros(1, *shape)).shape[1]
    signature = Signature(
        input_shape=shape, outputs=outputs, classes=tuple(map(str, range(outputs))), activation="softmax"
    )
    folder.mkdir()
    notes = get_runtime("torchscript").build(BuildSource(signature, net, None, np.zeros((1, *shape))), TARGET, folder)
    return notes, sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize(("name", "settings", "proven", "share", "note"), MADE)
def test_the_file_shrinks_and_answers_as_the_module_does(name, settings, proven, share, note, tmp_path):
    if name == "weight_only":
        pytest.importorskip("torchao")
    if name == "bfloat16" and "bf16" not in this_machine().features:
        pytest.skip("this CPU has no BF16 arithmetic")
    net, x = wide(), np.random.default_rng(0).normal(0, 1, (24, 1, 16, 16)).astype(np.float32)
    _, whole = built(net, (1, 16, 16), tmp_path / "whole")
    made = apply_all(net, (make(name, settings),), Context(calibration=x))
    notes, size = built(made, (1, 16, 16), tmp_path / "made")
    assert size < share * whole
    assert note in " ".join(notes) and bool(notes) == bool(note)
    session = get_runtime("torchscript").open(tmp_path / "made", TARGET, None)
    with torch.inference_mode():
        expected = torch.cat([made(torch.from_numpy(x[i : i + 1])) for i in range(len(x))]).float().numpy()
    found = np.concatenate([session.run(x[i : i + 1]) for i in range(len(x))])
    assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected - expected.mean(0))
    assert proven in session.proven.precision
    # Static INT8 keeps the answer fine by taking the range of its last input from the batch.
    assert session.batch_invariant == (name not in ("dynamic_int8", "static_int8"))


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_attention_with_layers_of_one_shape_goes_into_a_file(dtype, tmp_path):
    pytest.importorskip("torchao")
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0)
    net = nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Flatten(), nn.Linear(192, 16))
    made = apply_all(net.eval(), (make("weight_only", {"dtype": dtype}),), Context())
    built(made, (6, 32), tmp_path / "made")
    session = get_runtime("torchscript").open(tmp_path / "made", TARGET, None)
    x = torch.randn(4, 6, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        np.testing.assert_allclose(session.run(x.numpy()), made(x).numpy(), atol=1e-4)


def test_what_is_not_quantized_is_as_it_was(tmp_path):
    notes, _ = built(quantizable.mlp(), (8,), tmp_path / "plain")
    session = get_runtime("torchscript").open(tmp_path / "plain", TARGET, None)
    assert notes == () and session.proven.precision == "fp32" and session.batch_invariant
