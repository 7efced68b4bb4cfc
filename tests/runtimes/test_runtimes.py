"""Every adapter on a real network: files, numbers, and what really ran."""

from pathlib import Path

import nets
import numpy as np
import pytest
import torch

from primum.artifact.manifest import Manifest, write_manifest
from primum.artifact.predictor import Proven
from primum.data.preprocessing import Preprocessing
from primum.errors import InputError, TrialError
from primum.models.signature import Signature
from primum.runtimes.base import BuildSource, Target, get_runtime
from primum.runtimes.eager import TorchSession
from primum.runtimes.export import export_onnx
from primum.runtimes.load import load, open_session

SIGNATURE = Signature(input_shape=(1, 32, 32), outputs=1, classes=("clear", "shadow"))
EXACT = [
    ("torch", "fp32", True),
    ("torchscript", "fp32", False),
    ("onnxruntime", "fp32", False),
    ("openvino", "fp32", False),
]
ROUGH = [
    ("torch", "bf16", "bf16", 0.05),
    ("onnxruntime", "fp16", "fp32 (weights stored in fp16)", 0.01),
    ("onnxruntime", "int8", "int8", 0.2),
    ("onnxruntime", "int8-dynamic", "int8-dynamic", 0.2),
    ("openvino", "bf16", "bf16", 0.05),
    ("openvino", "int8", "int8", 0.2),
]


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (24, 1, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(inputs) -> np.ndarray:
    with torch.inference_mode():
        return nets.build()(torch.from_numpy(inputs)).numpy()


@pytest.fixture(scope="module")
def export(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("export") / "net.onnx"
    assert export_onnx(nets.build(), (1, 32, 32), path) == ()
    return path


def manifest(target: Target) -> Manifest:
    return Manifest(
        primum_version="0",
        created="now",
        signature=SIGNATURE,
        threshold=0.5,
        target=target.model_dump(mode="json"),
        runtime_version=get_runtime(target.runtime).version(),
        precision_proven="",
        provider="",
        recipe=str(target),
        parent_hash="",
        preprocessing=Preprocessing(),
    )


def make(folder: Path, target: Target, export: Path, inputs: np.ndarray) -> tuple[str, ...]:
    (folder / "model").mkdir(parents=True)
    source = BuildSource(SIGNATURE, nets.build(), export, inputs)
    notes = get_runtime(target.runtime).build(source, target, folder / "model")
    write_manifest(folder, manifest(target))
    return notes


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected - expected.mean()))


@pytest.mark.parametrize(("runtime", "precision", "channels_last"), EXACT)
def test_lossless_runtimes_give_the_same_numbers(runtime, precision, channels_last, export, inputs, expected, tmp_path):
    target = Target(runtime=runtime, precision=precision, channels_last=channels_last, threads=1)
    make(tmp_path, target, export, inputs)
    with load(tmp_path, factory=nets.build) as predictor:
        np.testing.assert_allclose(predictor.raw(inputs), expected, atol=1e-4, rtol=1e-4)
        one = np.concatenate([predictor.raw(inputs[i : i + 1]) for i in range(4)])
        np.testing.assert_allclose(one, expected[:4], atol=1e-4, rtol=1e-4)
        assert predictor.session.proven.precision == "fp32" and predictor.session.proven.threads == 1


@pytest.mark.parametrize(("runtime", "precision", "proven", "tolerance"), ROUGH)
def test_lower_precisions_follow_and_say_what_ran(
    runtime, precision, proven, tolerance, export, inputs, expected, tmp_path
):
    from primum.hardware.machine import this_machine

    if precision == "bf16" and "bf16" not in this_machine().features:
        pytest.skip("this CPU has no BF16 arithmetic")
    target = Target(runtime=runtime, precision=precision, threads=1)
    make(tmp_path, target, export, inputs)
    with load(tmp_path, factory=nets.build) as predictor:
        assert 0 < relative(predictor.raw(inputs), expected) < tolerance
        assert predictor.session.proven.precision == proven


@pytest.mark.slow
def test_torch_compile_gives_the_same_numbers(export, inputs, expected, tmp_path):
    make(tmp_path, Target(runtime="inductor", channels_last=True, threads=1), export, inputs)
    with load(tmp_path, factory=nets.build) as predictor:
        np.testing.assert_allclose(predictor.raw(inputs[:1]), expected[:1], atol=1e-4, rtol=1e-4)


def test_sizes_follow_the_precision(export, inputs, tmp_path):
    def size(precision: str) -> int:
        make(tmp_path / precision, Target(runtime="onnxruntime", precision=precision), export, inputs)
        return (tmp_path / precision / "model" / "model.onnx").stat().st_size

    full = size("fp32")
    assert size("fp16") < 0.55 * full
    assert size("int8") < 0.3 * full


def test_integer_layers_are_counted_from_the_optimized_graph(export, inputs, tmp_path):
    notes = make(tmp_path, Target(runtime="onnxruntime", precision="int8"), export, inputs)
    assert "4 of 4 convolutions and matrix products run in INT8" in notes


def test_a_dynamic_int8_answer_does_not_depend_on_its_batch(export, inputs, tmp_path):
    make(tmp_path, Target(runtime="onnxruntime", precision="int8-dynamic", threads=1), export, inputs)
    with load(tmp_path) as predictor:
        assert not predictor.session.batch_invariant
        alone = np.concatenate([predictor.raw(inputs[i : i + 1]) for i in range(len(inputs))])
        np.testing.assert_array_equal(predictor.raw(inputs), alone)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_fixed_batch_takes_one_case_a_call_and_answers_alike(precision, export, inputs, tmp_path):
    target = Target(runtime="openvino", precision=precision, threads=1)
    fixed = target.model_copy(update={"fixed_batch": True})
    make(tmp_path / "free", target, export, inputs)
    make(tmp_path / "fixed", fixed, export, inputs)
    with load(tmp_path / "free") as free, load(tmp_path / "fixed") as one:
        assert not one.session.batch_invariant, "more cases are run one after another"
        np.testing.assert_allclose(one.raw(inputs), free.raw(inputs), atol=1e-3)
        with pytest.raises(RuntimeError):
            one.session.run(inputs[:2])


def test_int8_beside_bf16_differs_from_int8_beside_fp32_and_both_say_int8(tmp_path):
    from primum.hardware.machine import this_machine

    if "bf16" not in this_machine().features:
        pytest.skip("this CPU has no BF16 arithmetic")
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    net = torch.nn.Sequential(layer, torch.nn.Flatten(), torch.nn.Linear(64 * 16, 1)).eval()
    tokens = np.random.default_rng(0).normal(0, 1, (24, 16, 64)).astype(np.float32)
    export_onnx(net, (16, 64), tmp_path / "net.onnx")
    raw = {}
    for floats in ("fp32", "bf16"):
        target = Target(runtime="openvino", precision="int8", floats=floats, threads=1)
        (tmp_path / floats / "model").mkdir(parents=True)
        signature = SIGNATURE.model_copy(update={"input_shape": (16, 64)})
        source = BuildSource(signature, net, tmp_path / "net.onnx", tokens)
        get_runtime("openvino").build(source, target, tmp_path / floats / "model")
        write_manifest(tmp_path / floats, manifest(target))
        with load(tmp_path / floats) as predictor:
            raw[floats] = predictor.raw(tokens)
            assert predictor.session.proven.precision == "int8"
    assert 0 < relative(raw["bf16"], raw["fp32"]) < 0.1


def test_openvino_refuses_another_precision_than_was_asked(export, inputs, tmp_path):
    """An FP32 graph opened as INT8 runs in floats: that is found out, not passed over."""
    make(tmp_path, Target(runtime="openvino"), export, inputs)
    with pytest.raises(TrialError, match="asked for int8, OpenVINO runs"):
        open_session(tmp_path, manifest(Target(runtime="openvino", precision="int8")))


def test_weights_only_artifacts_need_the_factory(export, inputs, tmp_path):
    make(tmp_path, Target(runtime="torch"), export, inputs)
    with pytest.raises(InputError, match="factory=build"):
        load(tmp_path)


def test_an_artifact_predicts_from_many_threads(export, inputs, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    for runtime in ("onnxruntime", "openvino"):
        make(tmp_path / runtime, Target(runtime=runtime, threads=1), export, inputs)
        with load(tmp_path / runtime) as predictor, ThreadPoolExecutor(8) as pool:
            expected = predictor.raw(inputs)
            rows = list(range(len(inputs))) * 10
            answers = list(pool.map(lambda i, run=predictor.raw: run(inputs[i : i + 1])[0], rows))
        np.testing.assert_allclose(np.stack(answers), expected[rows], atol=1e-5)


def test_unknown_runtime():
    with pytest.raises(InputError, match="onnxruntime"):
        get_runtime("tensorflow")


def test_a_network_that_changes_its_input_changes_nobody_elses():
    """The original of a guarded prediction is asked the same rows after the fast network."""
    batch = np.ones((2, 3), dtype=np.float32)
    for precision in ("fp32", "bf16"):
        session = TorchSession(
            lambda x: x.sub_(5.0), Target(runtime="torch", precision=precision), Proven(precision, "eager", 1)
        )
        assert session.run(batch).tolist() == [[-4.0] * 3] * 2
        assert (batch == 1).all()
