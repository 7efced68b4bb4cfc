import itertools
import json
import math

import numpy as np
import pytest
from PIL import Image

from primum.benchmark import BaseInferenceWrapper, BenchmarkSuite, ONNXInferenceWrapper, PyTorchInferenceWrapper
from primum.errors import InputError, StorageError


class Fake(BaseInferenceWrapper):
    """Answers by brightness and writes down every call."""

    calls = None

    def __init__(self, name="Fake", log=None, classes=("NORMAL", "PNEUMONIA"), fail_after=None, confidence=0.9):
        super().__init__(name=name, classes=classes)
        self.log = log if log is not None else []
        self.fail_after, self.answered, self.confidence, self.loads = fail_after, 0, confidence, 0

    def _load_model(self):
        self.loads += 1

    def preprocess(self, image):
        return float(np.asarray(image).mean())

    def extract_features(self, preprocessed):
        self.log.append(self.name)
        return preprocessed

    def classify(self, features):
        self.answered += 1
        if self.fail_after is not None and self.answered > self.fail_after:
            raise RuntimeError("the accelerator fell off\nstack follows")
        return ("PNEUMONIA" if features > 128 else "NORMAL", self.confidence)


@pytest.fixture
def suite(xrays):
    return BenchmarkSuite(image_dir=xrays, num_samples=100, num_warmup=2)


@pytest.fixture
def images(suite):
    return suite.load_images()


def test_a_real_network_is_timed_and_judged(suite, images, labels, network):
    with PyTorchInferenceWrapper(checkpoint_path=network) as wrapper:
        result = suite.run_benchmark(wrapper=wrapper, images=images, labels=labels)
    assert result.approach_name == "PyTorch_FP32"
    assert result.num_samples == 32
    assert set(result.stage_stats) == {"preprocessing", "feature_extraction", "classification", "total"}
    assert all(stats["count"] == 32 for stats in result.stage_stats.values())
    assert result.total_time_avg == result.stage_stats["total"]["mean"] > 0
    parts = sum(result.stage_stats[s]["mean"] for s in ("preprocessing", "feature_extraction", "classification"))
    assert parts <= result.total_time_avg
    assert result.precision == "fp32"
    assert result.threads >= 1
    assert result.load_ms > 0
    assert result.first_ms > 0
    # One image of each class shows the other one.
    assert result.accuracy_metrics["accuracy"] == 30 / 32
    assert result.accuracy_metrics["false_positives"] == result.accuracy_metrics["false_negatives"] == 1
    assert 0.8 < result.accuracy_metrics["auroc"] < 1


def test_confidence_becomes_the_positive_probability(suite, images, labels):
    # Constant confidence: scores are 0.9 and 0.1, so AUROC is (sensitivity + specificity) / 2.
    result = suite.run_benchmark(Fake(), images, labels)
    assert result.accuracy_metrics["auroc"] == pytest.approx(15 / 16)


def test_labels_may_be_names(suite, images, labels):
    names = [("NORMAL", "PNEUMONIA")[x] for x in labels]
    with_classes = suite.run_benchmark(Fake(), images, names)
    without = suite.run_benchmark(Fake(classes=None), images, names)
    assert with_classes.accuracy_metrics == without.accuracy_metrics
    assert any("positive: PNEUMONIA" in note for note in without.notes)


def test_swapped_classes_swap_the_positive(suite, images, labels):
    swapped = [1 - x for x in labels]
    result = suite.run_benchmark(Fake(classes=("PNEUMONIA", "NORMAL")), images, swapped)
    assert result.accuracy_metrics["accuracy"] == 30 / 32


def test_numbers_without_class_names_are_not_guessed(suite, images, labels):
    result = suite.run_benchmark(Fake(classes=None), images, labels)
    assert result.accuracy_metrics == {}
    assert any("classes=(negative, positive)" in note for note in result.notes)


@pytest.mark.parametrize("bad", [[0, 1], [2] * 32, ["SICK"] * 32])
def test_labels_that_do_not_fit_are_refused_before_anything_runs(suite, images, bad):
    fake = Fake()
    with pytest.raises(InputError):
        suite.run_benchmark(fake, images, bad)
    with pytest.raises(InputError):
        suite.run_comparison([fake], images, bad)
    assert fake.log == []


def test_nothing_to_run_is_said(suite, images):
    with pytest.raises(InputError, match="no images"):
        suite.run_benchmark(Fake(), [])
    with pytest.raises(InputError, match="at least one"):
        suite.run_comparison([], images)
    with pytest.raises(InputError, match="run a benchmark first"):
        suite.save_results("anywhere")


def test_a_nan_answer_counts_as_wrong(suite, images, labels):
    result = suite.run_benchmark(Fake(confidence=math.nan), images, labels)
    assert result.accuracy_metrics["accuracy"] == 0
    assert any("32 answer(s) were NaN" in note for note in result.notes)


def test_warm_up_is_not_timed_and_the_model_is_loaded_once(xrays):
    suite = BenchmarkSuite(xrays, num_samples=5, num_warmup=7)
    fake = Fake()
    result = suite.run_benchmark(fake, suite.load_images())
    assert len(fake.log) == 1 + 7 + 5
    assert result.stage_stats["total"]["count"] == 5
    assert fake.loads == 1


def test_one_benchmark_raises_what_the_wrapper_raises(suite, images):
    with pytest.raises(RuntimeError, match="fell off"):
        suite.run_benchmark(Fake(fail_after=4), images)


def test_comparison_is_interleaved_in_shuffled_rounds(suite, images):
    log = []
    wrappers = [Fake("a", log), Fake("b", log), Fake("c", log)]
    comparison = suite.run_comparison(wrappers, images)
    assert all(row["num_samples"] == 32 for row in comparison.values())
    turns = [name for name, _ in itertools.groupby(log[9:])]
    # Twenty rounds of three: no wrapper runs its images in one go, and the order changes between rounds.
    assert len(turns) >= 40
    orders = {tuple(turns[i : i + 3]) for i in range(0, len(turns) - 2, 3)}
    assert len(orders) > 1
    assert {log.count(n) for n in "abc"} == {len(log) // 3}


def test_the_seed_decides_the_order(xrays, images):
    def order(seed):
        log = []
        BenchmarkSuite(xrays, num_warmup=0, seed=seed).run_comparison([Fake("a", log), Fake("b", log)], images)
        return log

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_comparison_of_real_networks(suite, images, labels, network):
    wrappers = [
        PyTorchInferenceWrapper(checkpoint_path=network),
        PyTorchInferenceWrapper(checkpoint_path="tiny_benchmark_net:noisy"),
        ONNXInferenceWrapper(network),
    ]
    comparison = suite.run_comparison(wrappers=wrappers, images=images, labels=labels)
    assert list(comparison) == ["PyTorch_FP32", "PyTorch_FP32_2", "ONNX_FP32"]
    first = comparison["PyTorch_FP32"]
    assert first["speedup"] == 1
    assert comparison["ONNX_FP32"]["compared_with"] == "PyTorch_FP32"
    assert comparison["ONNX_FP32"]["accuracy"] == first["accuracy"]
    for row in comparison.values():
        assert row["speedup_lower"] <= row["speedup"] <= row["speedup_upper"]
        assert row["interleaved"]
    for wrapper in wrappers:
        wrapper.close()


@pytest.mark.parametrize("fail_after", [0, 20])
def test_a_failing_wrapper_is_a_row_with_its_reason(suite, images, labels, fail_after):
    comparison = suite.run_comparison([Fake("bad", fail_after=fail_after), Fake("good")], images, labels)
    assert comparison["bad"]["error"] == "RuntimeError: the accelerator fell off"
    assert math.isnan(comparison["bad"]["total_time_avg"])
    assert math.isnan(comparison["bad"]["accuracy"])
    assert comparison["good"]["accuracy"] == 30 / 32
    assert comparison["good"]["compared_with"] == "good"
    assert suite.collector.get_summary()["failed"] == {"bad": "RuntimeError: the accelerator fell off"}


def test_a_corrupt_image_is_named(xrays, tmp_path):
    (tmp_path / "one.png").write_bytes(next((xrays / "NORMAL").iterdir()).read_bytes()[:200])
    with pytest.raises(InputError, match="image 1 of 1"):
        BenchmarkSuite(tmp_path).load_images()


def test_results_are_saved_whole(suite, images, labels, tmp_path):
    suite.run_comparison([Fake("bad", fail_after=0), Fake("good"), Fake("good")], images, labels)
    files = suite.save_results(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in files.values())
    assert set(files) == {"json", "txt", "timings", "confusion_matrix", "metrics"}
    content = json.loads(files["json"].read_text())
    assert content["comparison"]["good_2"]["accuracy"] == 30 / 32
    assert content["results"][1]["stage_stats"]["total"]["p99"] is None
    text = files["txt"].read_text()
    assert "n too small" in text
    assert "FAILED: RuntimeError: the accelerator fell off" in text
    assert "nan" not in text
    for kind in ("timings", "confusion_matrix", "metrics"):
        assert min(Image.open(files[kind]).size) > 150


def test_without_labels_no_figure_of_accuracy_is_left_from_before(suite, images, labels, tmp_path):
    suite.run_benchmark(Fake(), images, labels)
    suite.save_results(tmp_path)
    suite.collector.results.clear()
    suite.run_benchmark(Fake(), images)
    assert set(suite.save_results(tmp_path)) == {"json", "txt", "timings"}
    assert not (tmp_path / "metrics.png").exists()


def test_a_full_disk_leaves_what_was_there(suite, images, tmp_path, monkeypatch):
    suite.run_benchmark(Fake(), images)
    suite.save_results(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    suite.run_benchmark(Fake("second"), images)
    import os

    real, done = os.fsync, []

    def full(descriptor):
        done.append(descriptor)
        if len(done) == 2:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="disk is full"):
        suite.save_results(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_said(suite, images, tmp_path):
    suite.run_benchmark(Fake(), images)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        suite.save_results(tmp_path / "file" / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_without_matplotlib_results_say_so(suite, images, tmp_path, monkeypatch):
    import sys

    suite.run_benchmark(Fake(), images)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert set(suite.save_results(tmp_path)) == {"json", "txt"}
    assert "pip install 'primum[optimize]'" in (tmp_path / "results.txt").read_text()


def test_contention_is_a_note_of_the_approach_that_suffered(suite, images, monkeypatch):
    import primum.benchmark.suite as module

    class Preempted(Fake):
        def classify(self, features):
            counted.append(50)
            return super().classify(features)

    counted = []
    monkeypatch.setattr(module, "preemptions", lambda: sum(counted))
    suite.run_comparison([Preempted("suffers"), Fake("quiet")], images)
    suffers, quiet = suite.collector.results
    assert any("BUSY MACHINE" in note for note in suffers.notes)
    assert not any("BUSY MACHINE" in note for note in quiet.notes)
