"""Whether an answer depends on how many cases share its call: what sessions claim, held against what they do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from primum.artifact.predictor import ONE_BY_ONE, run_rows
from primum.hardware.machine import this_machine
from primum.models.signature import Signature
from primum.runtimes.base import NAMES, BuildSource, Target, get_runtime
from primum.runtimes.export import export_onnx
from primum.techniques.registry import Context, apply_all, make

CLASSES = 16
SIGNATURE = Signature(input_shape=(20,), outputs=CLASSES, classes=tuple(map(str, range(CLASSES))), activation="softmax")
LAST_BITS = 1e-5
"""Of the spread of the outputs: kernels of another number of rows add in another order. A step of 8 bits is 1e-3."""
PLAIN = [(name, precision, {}) for name in NAMES for precision in get_runtime(name).precisions]
MORE = [
    ("onnxruntime", "int8", {"exclude": ("2",)}),
    ("onnxruntime", "int8", {"exclude": ("4",)}),
    ("openvino", "int8", {"exclude": ("2",)}),
    ("openvino", "int8", {"exclude": ("2",), "floats": "bf16"}),
]
ROUNDS = {
    ("onnxruntime", "int8-dynamic"),
    ("onnxruntime", "int8-weights"),
    ("onnxruntime", "int4-weights"),
    ("openvino", "int8-weights"),
    ("openvino", "int4-weights"),
}
MADE = [
    ("dynamic_int8", {}),
    ("static_int8", {}),
    ("bfloat16", {}),
    ("weight_only", {"dtype": "int8"}),
    ("weight_only", {"dtype": "int4"}),
]


def build() -> nn.Module:
    torch.manual_seed(0)
    inner = [layer for _ in range(2) for layer in (nn.Linear(1024, 1024), nn.ReLU())]
    return nn.Sequential(nn.Linear(20, 1024), nn.ReLU(), *inner, nn.Linear(1024, CLASSES)).eval()


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return build()


@pytest.fixture(scope="module")
def export(net, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("export") / "net.onnx"
    export_onnx(net, (20,), path)
    return path


@pytest.fixture(scope="module")
def cases() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(640, 20)).astype(np.float32)


def opened(net, export, cases, target, folder):
    runtime = get_runtime(target.runtime)
    runtime.build(BuildSource(SIGNATURE, net, export, cases[:64]), target, folder)
    return runtime.open(folder, target, build)


def differs(session, cases) -> float:
    """The largest difference between a case alone and beside others, in spreads of the outputs."""
    alone = np.concatenate([session.run(cases[i : i + 1]) for i in range(len(cases))])
    together = (np.concatenate([session.run(cases[i : i + n]) for i in range(0, 640, n)]) for n in (2, 4, 5, 8, 16, 32))
    assert np.array_equal(np.concatenate([run_rows(session, cases[:1]), alone[1:]]), alone)
    if not session.batch_invariant:
        assert np.array_equal(run_rows(session, cases), alone)
    return float(max(np.abs(found - alone).max() for found in together) / alone.std())


def check(session, cases) -> None:
    assert (ONE_BY_ONE in session.proven.notes) == (not session.batch_invariant)
    moved = differs(session, cases)
    assert moved < LAST_BITS or not session.batch_invariant, f"claimed to be invariant, but moves by {moved:.2g}"


@pytest.mark.parametrize(
    ("runtime", "precision", "settings"),
    [pytest.param(*one, marks=[pytest.mark.slow] * (one[0] == "inductor")) for one in (*PLAIN, *MORE)],
)
def test_an_answer_does_not_depend_on_its_batch_where_it_is_said(
    runtime, precision, settings, net, export, cases, tmp_path
):
    if get_runtime(runtime).missing():
        pytest.skip("not installed")
    if "bf16" in (precision, settings.get("floats")) and "bf16" not in this_machine().features:
        pytest.skip("this CPU has no BF16 arithmetic")
    target = Target(runtime=runtime, precision=precision, threads=1, **settings)
    session = opened(net, export, cases, target, tmp_path)
    check(session, cases)
    mixed = runtime == "onnxruntime" and "exclude" in settings
    assert session.batch_invariant == (not mixed and (runtime, precision) not in ROUNDS), "neither more nor less"
    session.close()


@pytest.mark.parametrize(("name", "settings"), MADE)
def test_the_same_of_networks_that_torch_made_coarser(name, settings, net, cases, tmp_path):
    if name == "weight_only":
        pytest.importorskip("torchao")
    if name == "bfloat16" and "bf16" not in this_machine().features:
        pytest.skip("this CPU has no BF16 arithmetic")
    made = apply_all(net, (make(name, settings),), Context(calibration=cases[:64]))
    session = opened(made, None, cases, Target(runtime="torchscript", threads=1), tmp_path)
    check(session, cases)
    assert session.batch_invariant == (name not in ("dynamic_int8", "static_int8"))
