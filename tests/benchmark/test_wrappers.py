from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from primum.benchmark import (
    INT8InferenceWrapper,
    ONNXFP16InferenceWrapper,
    ONNXInferenceWrapper,
    PyTorchInferenceWrapper,
)
from primum.data.preprocessing import Preprocessing
from primum.errors import InputError, TrialError, UnsafeInput

ALL = [PyTorchInferenceWrapper, ONNXInferenceWrapper, ONNXFP16InferenceWrapper, INT8InferenceWrapper]


def grey(level, size=(32, 32)):
    return Image.fromarray(np.full(size, level, np.uint8))


@pytest.mark.parametrize("kind", ALL)
def test_every_wrapper_gives_a_class_and_its_probability(kind, network):
    with kind(checkpoint_path=network, classes=("NORMAL", "PNEUMONIA")) as wrapper:
        dark, bright = wrapper.predict(grey(20)), wrapper.predict(grey(235))
    assert dark[0] == "NORMAL"
    assert bright[0] == "PNEUMONIA"
    assert 0.5 <= dark[1] <= 1
    assert 0.5 <= bright[1] <= 1


def test_stages_in_turn_are_the_whole(network):
    with PyTorchInferenceWrapper(checkpoint_path=network) as wrapper:
        tensor = wrapper.preprocess(grey(200))
        features = wrapper.extract_features(tensor)
        assert tensor.shape == (1, 1, 32, 32)
        assert features.shape == (1, 2)
        assert wrapper.classify(features) == wrapper.predict(grey(200))


def test_onnx_agrees_with_pytorch_and_with_the_module_itself(network, xrays):
    import tiny_benchmark_net
    import torch

    image = Image.open(next((xrays / "NORMAL").iterdir()))
    with PyTorchInferenceWrapper(network) as torch_one, ONNXInferenceWrapper(network) as onnx_one:
        batch = torch_one.preprocess(image)
        expected = tiny_benchmark_net.build().eval()(torch.from_numpy(batch)).detach().numpy()
        np.testing.assert_allclose(torch_one.extract_features(batch), expected, atol=1e-5)
        np.testing.assert_allclose(onnx_one.extract_features(onnx_one.preprocess(image)), expected, atol=1e-5)


def test_precisions_are_what_runs_not_what_was_asked(network):
    with ONNXFP16InferenceWrapper(network) as half, INT8InferenceWrapper(network) as dynamic:
        half.prepare(grey(9))
        dynamic.prepare(grey(9))
        assert half.name == "ONNX_FP16"
        assert half.precision == "fp32 (weights stored in fp16)"
        assert dynamic.name == "ONNX_INT8_dynamic"
        assert dynamic.precision == "int8-dynamic"
        assert any("run in INT8" in note for note in dynamic.notes)


def test_calibration_images_make_int8_static(network):
    images = [grey(level) for level in range(0, 255, 25)]
    with INT8InferenceWrapper(network, calibration_images=images) as wrapper:
        assert wrapper.predict(grey(235))[0] == "positive"
        assert (wrapper.name, wrapper.precision) == ("ONNX_INT8_static", "int8")
    with pytest.raises(InputError, match="empty"):
        INT8InferenceWrapper(network, calibration_images=[])


def test_what_is_assumed_is_said(network):
    with ONNXInferenceWrapper(network) as wrapper:
        wrapper.prepare(grey(9, (40, 24)))
        assert wrapper.preprocessing == Preprocessing(size=(40, 24))
        notes = " | ".join(wrapper.notes)
        assert "assumed grey, 40x24" in notes
        assert "one graph" in notes
        assert "softmax" in notes


def test_given_preprocessing_is_used_as_it_is(network, tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("color: grey\nsize: [32, 32]\nmean: 0.5\nstd: 0.25\n")
    with PyTorchInferenceWrapper(network, preprocessing=file) as wrapper:
        assert wrapper.preprocess(grey(255, (99, 50)))[0, 0, 0, 0] == pytest.approx(2.0)
        assert not any("assumed" in note for note in wrapper.notes)


def test_images_of_another_size_than_the_graph_are_refused(network):
    with ONNXInferenceWrapper(network, preprocessing=Preprocessing()) as wrapper:
        wrapper.predict(grey(9))
        with pytest.raises(InputError, match="set size"):
            wrapper.predict(grey(9, (33, 32)))


def test_a_network_that_gives_probabilities_is_not_squashed_twice(network):
    with PyTorchInferenceWrapper("tiny_benchmark_net:colour") as wrapper:
        image = grey(128).convert("RGB")
        raw = float(wrapper.extract_features(wrapper.preprocess(image))[0, 0])
        name, confidence = wrapper.predict(image)
        assert wrapper.preprocessing.color == "rgb"
    assert confidence == pytest.approx(raw if name == "positive" else 1 - raw)


def test_the_threshold_is_on_the_positive_probability(network):
    with PyTorchInferenceWrapper(network) as wrapper:
        name, confidence = wrapper.predict(grey(150))
    assert (name, confidence < 1) == ("positive", True)
    with PyTorchInferenceWrapper(network, threshold=(1 + confidence) / 2) as strict:
        assert strict.predict(grey(150)) == ("negative", pytest.approx(1 - confidence))


def test_an_export_is_kept_used_again_and_checked(network, tmp_path):
    path = tmp_path / "kept.onnx"
    with ONNXInferenceWrapper(network, onnx_path=path) as first:
        first.prepare(grey(9))
    made = path.stat().st_mtime_ns
    with ONNXInferenceWrapper(network, onnx_path=path) as second:
        second.prepare(grey(9))
        assert any("already there" in note for note in second.notes)
    assert path.stat().st_mtime_ns == made
    with (
        pytest.raises(TrialError, match="not the same network"),
        ONNXInferenceWrapper("tiny_benchmark_net:noisy", onnx_path=path) as stale,
    ):
        stale.prepare(grey(200))


@pytest.mark.parametrize("kind", [ONNXInferenceWrapper, ONNXFP16InferenceWrapper, INT8InferenceWrapper])
def test_an_onnx_file_needs_no_torch_model(kind, network, tmp_path):
    path = tmp_path / "model.onnx"
    with ONNXInferenceWrapper(network, onnx_path=path) as export:
        export.prepare(grey(9))
    with kind(path) as wrapper:
        assert wrapper.predict(grey(235))[0] == "positive"
        assert wrapper.preprocessing.channels == 1


def test_an_onnx_file_cannot_run_in_pytorch(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    with pytest.raises(InputError, match="use ONNXInferenceWrapper"):
        PyTorchInferenceWrapper(path).prepare(grey(9))


def test_a_checkpoint_alone_says_what_to_give(network):
    weights = network.split("@")[1]
    with pytest.raises(InputError, match="module:factory"):
        PyTorchInferenceWrapper(checkpoint_path=weights)
    with pytest.raises(UnsafeInput):
        PyTorchInferenceWrapper(checkpoint_path="model.pkl")


def test_closing_removes_what_was_built_and_use_builds_it_again(network):
    wrapper = ONNXInferenceWrapper(network)
    before = wrapper.predict(grey(77))
    folder = Path(wrapper._folder.name)
    assert (folder / "model" / "model.onnx").is_file()
    wrapper.close()
    assert not folder.exists()
    wrapper.close()
    assert wrapper.predict(grey(77)) == before
    wrapper.close()


def test_loading_is_timed_and_threads_are_read_back(network):
    with ONNXInferenceWrapper(network, threads=1) as wrapper:
        wrapper.prepare(grey(9))
        assert wrapper.load_ms > 0
        assert wrapper.threads == 1
        assert wrapper.provider == "CPUExecutionProvider"


def test_features_before_an_image_say_what_to_do(network):
    with pytest.raises(InputError, match="preprocess an image first"):
        PyTorchInferenceWrapper(network).extract_features(np.zeros((1, 1, 32, 32), np.float32))


def test_a_model_that_changes_its_inputs_is_held_against_itself_on_the_same_image():
    import torch

    class Shifting(torch.nn.Module):
        def forward(self, x):
            return x.sub_(0.5).mean(dim=(1, 2, 3))[:, None] * torch.tensor([[-9.0, 9.0]])

    options = {"preprocessing": Preprocessing(size=(32, 32)), "input_shape": (1, 32, 32)}
    with PyTorchInferenceWrapper(Shifting(), **options) as wrapper:
        tensor = wrapper.preprocess(grey(200))
        before = tensor.copy()
        first = wrapper.extract_features(tensor)
        assert (tensor == before).all() and (wrapper.extract_features(tensor) == first).all()
        assert any("differs from the original's by 0" in note for note in wrapper.notes)
