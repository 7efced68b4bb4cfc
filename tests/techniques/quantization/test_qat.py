"""Training with rounding in place: it recovers accuracy, and what it leaves runs in integers elsewhere."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import quantizable
import torch
from torch import nn

from primum.errors import InputError, TrialError
from primum.hardware.machine import this_machine
from primum.runtimes.export import export_onnx
from primum.techniques.context import TrainingData
from primum.techniques.quantization.fake import FakeActivation, FakeLayer, round_through
from primum.techniques.quantization.qat import QuantizationAwareTraining, finish_qat, prepare_qat
from primum.techniques.quantization.qdq import QuantizeDequantize
from primum.techniques.quantization.sizes import stored_bytes
from primum.techniques.quantization.static import batches_of
from primum.techniques.registry import Context, apply_all, technique_of

VNNI = "vnni" in this_machine().features
NETS = {
    "residual": (quantizable.residual, quantizable.images, (1, 12, 12)),
    "encoder": (quantizable.encoder, quantizable.sequences, (6, 8)),
}


@pytest.fixture(scope="module")
def trained():
    return {
        kind: (quantizable.fit(make(), data(1000, 1)), data(1000, 1), data(1000, 2), shape)
        for kind, (make, data, shape) in NETS.items()
    }


def rounded(net: nn.Module, inputs: np.ndarray, bits: int = 8, **settings: object) -> nn.Module:
    """The net with rounding, not trained."""
    return finish_qat(prepare_qat(net, batches_of(inputs[:256]), weight_bits=bits, **settings)[0])


def optimized(path, folder) -> tuple[onnxruntime.InferenceSession, Counter]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session, Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("ranges", ["ema", "learned"])
def test_accuracy_lost_by_rounding_to_two_bits_comes_back(trained, kind, ranges):
    net, train, test, shape = trained[kind]
    context = Context(signature=quantizable.signature(shape), train=train)
    config = QuantizationAwareTraining(weight_bits=2, epochs=4, learning_rate=2e-3, ranges=ranges)
    made = apply_all(net, (config,), context)
    exact, lost, back = (quantizable.accuracy(m, test) for m in (net, rounded(net, train.inputs, 2), made))
    assert exact - lost > 0.1, "nothing was lost that could come back"
    assert back - lost > 0.5 * (exact - lost)
    assert any("validation loss" in note for note in context.notes)
    weights = [m.values for m in made.modules() if hasattr(m, "values")]
    assert weights and all(w.dtype is torch.int8 and w.abs().max() <= 1 for w in weights)


def test_the_original_teaches_where_labels_mislead(trained):
    """Labels of another network's making: what follows the original decides as it does, what follows them does not."""
    net, train, test, shape = trained["residual"]
    wrong = TrainingData(train.inputs, (train.labels + 1) % quantizable.CLASSES, train.units)
    with torch.no_grad():
        decided = TrainingData(test.inputs, net(torch.from_numpy(test.inputs)).argmax(1).numpy(), test.units)
    agreement = {}
    for alpha in (0.0, 1.0):
        context = Context(signature=quantizable.signature(shape), train=wrong, teacher=net)
        config = QuantizationAwareTraining(weight_bits=2, epochs=4, learning_rate=2e-3, alpha=alpha)
        made = apply_all(net, (config,), context)
        agreement[alpha] = quantizable.accuracy(made, decided)
        assert any("labels alone" in note for note in context.notes) == (alpha == 0)
    assert agreement[1.0] > 0.85 > 0.5 > agreement[0.0]


@pytest.fixture(scope="module", params=NETS)
def exported(request, trained, tmp_path_factory):
    """One network of each kind trained in eight bits, and its export."""
    net, train, test, shape = trained[request.param]
    context = Context(signature=quantizable.signature(shape), train=train, calibration=train.inputs[:256])
    made = apply_all(net, (QuantizationAwareTraining(epochs=1),), context)
    path = tmp_path_factory.mktemp(request.param) / "m.onnx"
    assert any("kept to 7 bits" in note for note in context.notes) is not VNNI
    assert export_onnx(made, shape, path) == ()
    assert quantizable.accuracy(made, test) >= quantizable.accuracy(net, test) - 0.01
    with torch.no_grad():
        return request.param, path, test, made(torch.from_numpy(test.inputs)).numpy()


def test_onnx_runtime_runs_the_export_in_integers(exported, tmp_path):
    kind, path, test, wanted = exported
    session, kinds = optimized(path, tmp_path)
    if kind == "residual":
        assert kinds["QLinearConv"] == 3 and kinds["QLinearAdd"] == 1 and kinds["QGemm"] == 1
    else:
        assert kinds["MatMulIntegerToFloat"] == 13 and kinds["QGemm"] == 1
    assert not kinds["Conv"] and not kinds["FusedConv"] and not kinds["Gemm"]
    got = session.run(None, {"input": test.inputs})[0]
    scale = np.abs(wanted).max()
    assert np.abs(got - wanted).mean() < 0.005 * scale and np.abs(got - wanted).max() < 0.04 * scale
    assert (got.argmax(1) == wanted.argmax(1)).mean() > 0.985


def test_openvino_runs_the_export_in_eight_bits(exported):
    openvino = pytest.importorskip("openvino")
    _, path, test, wanted = exported
    core = openvino.Core()
    hints = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(path), "CPU", hints)
    ran = [
        op.get_rt_info()["runtimePrecision"].astype(str)
        for op in compiled.get_runtime_model().get_ordered_ops()
        if op.get_rt_info()["layerType"].astype(str) in ("Convolution", "FullyConnected")
    ]
    eight = [precision for precision in ran if precision in ("u8", "i8")]
    assert len(ran) >= 3 and len(eight) >= len(ran) - 1, ran
    got = next(iter(compiled(test.inputs).values()))
    assert (got.argmax(1) == wanted.argmax(1)).mean() > 0.985


def test_the_tracing_exporter_gives_the_same_pairs(trained, tmp_path):
    net, train, test, _ = trained["residual"]
    made = rounded(net, train.inputs, 8 if VNNI else 7)
    x = torch.from_numpy(test.inputs[:8])
    torch.onnx.export(made, (x,), str(tmp_path / "m.onnx"), dynamo=False, opset_version=17, input_names=["input"])
    session, kinds = optimized(tmp_path / "m.onnx", tmp_path)
    assert kinds["QLinearConv"] == 3
    with torch.no_grad():
        np.testing.assert_allclose(session.run(None, {"input": x.numpy()})[0], made(x).numpy(), atol=0.3)


def test_an_exported_program_that_is_not_for_onnx_has_plain_arithmetic(trained):
    net, train, _, _ = trained["residual"]
    made, x = rounded(net, train.inputs), torch.from_numpy(train.inputs[:2])
    program = torch.export.export(made, (x,))
    assert "onnx" not in str(program.graph)
    torch.testing.assert_close(program.module()(x), made(x))


def test_weights_are_stored_as_bytes():
    net = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256)).eval()
    assert stored_bytes(net) / stored_bytes(rounded(net, quantizable.inputs((256,)))) > 3.5


def test_rounding_passes_gradients_inside_the_range_and_none_outside():
    x = torch.tensor([-9.0, -0.4, 0.26, 9.0], requires_grad=True)
    round_through(x).sum().backward()
    assert x.grad.tolist() == [1, 1, 1, 1]
    activation = FakeActivation()
    activation(torch.tensor([-1.0, 1.0]))
    activation.calibrated()
    activation.eval()
    x.grad = None
    made = activation(x)
    made.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]
    parity = torch.fake_quantize_per_tensor_affine(
        x.detach(), float(activation.scale()), int(activation.zero_point()), 0, 255
    )
    torch.testing.assert_close(made.detach(), parity)
    torch.testing.assert_close(activation.finished()(x.detach()), parity)


def test_a_weight_is_rounded_as_torch_does_channel_by_channel():
    torch.manual_seed(0)
    layer, source = nn.Conv2d(3, 5, 3), FakeActivation()
    source(torch.ones(1))
    fake = FakeLayer(layer, 8, source)
    fake.calibrated()
    values, scale = fake._values()
    zero = torch.zeros(5, dtype=torch.int32)
    wanted = torch.fake_quantize_per_channel_affine(layer.weight, scale.flatten(), zero, 0, -127, 127)
    torch.testing.assert_close(values * scale, wanted)
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(fake(x), nn.functional.conv2d(x, wanted, layer.bias))
    torch.testing.assert_close(fake.finished()(x), fake(x))


def test_bounds_follow_the_data_slowly_in_training_and_not_at_all_in_evaluation():
    activation = FakeActivation()
    for high in (1.0, 3.0):
        activation(torch.tensor([0.0, high]))
    assert float(activation.high) == 2.0
    activation.calibrated()
    activation.eval()(torch.tensor([102.0]))
    assert float(activation.high) == 2.0
    activation.train()(torch.tensor([102.0]))
    assert float(activation.high) == pytest.approx(3.0)


def test_zero_is_exact_for_every_range():
    for low, high in ((-3.0, 1.7), (0.0, 5.0), (-2.0, 0.0), (0.5, 4.0)):
        activation = FakeActivation()
        activation(torch.tensor([low, high]))
        activation.calibrated()
        made = activation.eval().finished()
        assert isinstance(made, QuantizeDequantize) and float(made(torch.zeros(1))) == 0.0


def test_a_nearly_dead_channel_with_a_bias_keeps_its_bias():
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight[0] = 1e-12
        layer.bias.copy_(torch.tensor([3.0, -2.0]))
    net = nn.Sequential(layer).eval()
    x = torch.ones(2, 4)
    made = finish_qat(prepare_qat(net, [x])[0])
    torch.testing.assert_close(made(x), net(x), atol=0.02, rtol=0.01)


def test_layers_that_stay_are_named_and_kept_on_request():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.odd = nn.ConvTranspose2d(1, 2, 2), nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect")
            self.last, self.free = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.free(torch.relu(self.last(self.odd(self.up(x)))))

    _, skipped, _ = prepare_qat(Mixed(), [torch.randn(2, 1, 4, 4)], keep=("free",))
    assert {s.name: s.why.split()[0] for s in skipped} == {"up": "only", "odd": "it", "free": "it"}
    assert {s.name for s in skipped if "asked to stay" in s.why} == {"free"}


def test_what_cannot_be_traced_is_rounded_at_each_layer_and_says_so(tmp_path):
    net, x = quantizable.settled(quantizable.Deciding()), torch.from_numpy(quantizable.inputs((8,)))
    prepared, _, notes = prepare_qat(net, [x])
    assert any("only inputs of layers are rounded" in note for note in notes)
    made = finish_qat(prepared)
    with torch.no_grad():
        torch.testing.assert_close(made(x), net(x), atol=0.1, rtol=0.1)


def test_a_convolution_is_rounded_before_and_after_its_relu_and_results_never():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)).eval()
    prepared, _, _ = prepare_qat(net, [torch.randn(4, 1, 6, 6)])
    order = [type(prepared.get_submodule(n.target)).__name__ for n in prepared.graph.nodes if n.op == "call_module"]
    assert order == [
        *("FakeActivation", "FakeLayer", "ReLU", "FakeActivation"),
        *("AdaptiveAvgPool2d", "FakeActivation", "Flatten", "FakeLayer"),
    ]


def test_it_needs_labels_layers_and_trains():
    with pytest.raises(InputError, match="qat trains"):
        apply_all(quantizable.mlp(), (QuantizationAwareTraining(),), Context())
    with pytest.raises(TrialError, match="no convolution or linear layer"):
        prepare_qat(nn.Sequential(nn.ReLU()), [torch.ones(1, 2)])
    entry = technique_of(QuantizationAwareTraining())
    assert entry.trains and not entry.torch_only
