"""The specification's examples as written, but for the import line and the placeholders in capitals."""

import subprocess
import sys
from textwrap import dedent

import pytest

QUICK_START = """
from primum.benchmark import run_baseline_benchmark

results = run_baseline_benchmark(
    image_dir="IMAGES",
    checkpoint_path="CHECKPOINT",
    num_samples=1000,
    output_dir="optimization_results"
)

print(f"Total time: {results['total_time_avg']:.2f}ms")
print(f"Accuracy: {results['accuracy_metrics']['accuracy']:.4f}")
"""

CUSTOM_SUITE = """
from primum.benchmark import BenchmarkSuite, PyTorchInferenceWrapper

# Initialize suite
suite = BenchmarkSuite(
    image_dir="IMAGES",
    num_samples=1000,
    num_warmup=10  # Warmup iterations before timing
)

# Load images
images = suite.load_images()

# Create inference wrapper
wrapper = PyTorchInferenceWrapper(
    checkpoint_path="CHECKPOINT"
)

# Run benchmark (with optional labels for accuracy)
result = suite.run_benchmark(
    wrapper=wrapper,
    images=images,
    labels=LABELS  # Optional true labels
)

# Save results
suite.save_results("my_benchmark_results")

from primum.benchmark import ResultsCollector

collector = ResultsCollector()
collector.add_result(result)

summary = collector.get_summary()
comparison = collector.compare_approaches()

collector.save_to_file("results.json")

image = images[0]
# Individual stages
tensor = wrapper.preprocess(image)
features = wrapper.extract_features(tensor)
class_name, confidence = wrapper.classify(features)

# Or full pipeline
class_name, confidence = wrapper.predict(image)
"""

COMPARISON = """
from primum.benchmark import BenchmarkSuite, PyTorchInferenceWrapper

suite = BenchmarkSuite(image_dir="IMAGES", num_samples=1000)
images = suite.load_images()

# Multiple wrappers (PyTorch, ONNX, TensorRT, etc.)
wrappers = [
    PyTorchInferenceWrapper(checkpoint_path="CHECKPOINT"),
    PyTorchInferenceWrapper(checkpoint_path="CHECKPOINT"),
    # Add other wrappers as implemented
]

# Run comparison
comparison = suite.run_comparison(
    wrappers=wrappers,
    images=images,
    labels=LABELS  # Optional ground truth
)

# Print comparison
for approach, stats in comparison.items():
    print(f"\\n{approach}:")
    print(f"  Total time: {stats['total_time_avg']:.2f}ms")
    print(f"  Accuracy: {stats['accuracy']:.4f}")

assert list(comparison) == ["PyTorch_FP32", "PyTorch_FP32_2"]
"""

TIMER_LOADER_METRICS = """
from primum.benchmark import StageTimer

timer = StageTimer()

with timer.time_stage('preprocessing'):
    # Preprocess image
    pass

stats = timer.get_statistics('preprocessing')
print(f"Mean: {stats['mean']:.2f}ms")
print(f"p95: {stats['p95']:.2f}ms")

from primum.benchmark import DatasetLoader

loader = DatasetLoader(image_dir="IMAGES", max_images=1000)
images = loader.load_images(count=100)

from primum.benchmark import calculate_classification_metrics

metrics = calculate_classification_metrics(
    true_labels=[0, 1, 1, 0],
    pred_labels=[0, 1, 1, 1],
    pred_probs=[0.1, 0.9, 0.8, 0.6]
)

print(f"Accuracy: {metrics['accuracy']:.4f}")
print(f"F1 Score: {metrics['f1']:.4f}")
print(f"Recall: {metrics['recall']:.4f}")
"""

OWN_WRAPPER = """
from primum.benchmark import PyTorchInferenceWrapper
from primum.benchmark import ONNXInferenceWrapper as Exporter
Exporter("CHECKPOINT", onnx_path="model.onnx").prepare(__import__("PIL.Image").Image.new("L", (32, 32)))

from primum.benchmark import BaseInferenceWrapper

class ONNXInferenceWrapper(BaseInferenceWrapper):
    \"\"\"ONNX Runtime inference wrapper.\"\"\"

    def __init__(self, checkpoint_path: str):
        super().__init__(name="ONNX_FP32", checkpoint_path=checkpoint_path)
        # Load ONNX model
        import onnxruntime as ort
        self.session = ort.InferenceSession(checkpoint_path)

    def _load_model(self):
        pass  # Model loaded in __init__

    def preprocess(self, image):
        # ONNX-specific preprocessing
        pass

    def extract_features(self, preprocessed_data):
        # Extract features
        pass

    def classify(self, features):
        # Classify
        pass

from primum.benchmark import BenchmarkSuite

suite = BenchmarkSuite(image_dir="IMAGES", num_samples=1000)
images = suite.load_images()

onnx_wrapper = ONNXInferenceWrapper("model.onnx")
result = suite.run_benchmark(onnx_wrapper, images)
assert result.num_samples == 32
assert "timed, not judged" in result.notes[0]
"""

COMPLETE_WORKFLOW = """
import logging
from primum.benchmark import BenchmarkSuite, PyTorchInferenceWrapper

# Setup logging
logging.basicConfig(level=logging.INFO)

# Create benchmark suite
suite = BenchmarkSuite(
    image_dir="IMAGES",
    num_samples=1000,
    num_warmup=10
)

# Load images
images = suite.load_images()
print(f"Loaded {len(images)} images")

# Create PyTorch wrapper (FP32 baseline)
wrapper = PyTorchInferenceWrapper(
    checkpoint_path="CHECKPOINT"
)

# Run benchmark
print("\\nRunning baseline benchmark...")
result = suite.run_benchmark(wrapper, images)

# Print results
print(f"\\n=== BENCHMARK RESULTS ===")
print(f"Approach: {result.approach_name}")
print(f"Samples: {result.num_samples}")
print(f"\\nStage Breakdown (ms):")
for stage, stats in result.stage_stats.items():
    print(f"  {stage}: {stats['mean']:.2f} (p95: {stats['p95']:.2f})")

print(f"\\nTotal Time: {result.total_time_avg:.2f}ms")

if result.accuracy_metrics:
    print(f"\\nAccuracy Metrics:")
    print(f"  Accuracy: {result.accuracy_metrics['accuracy']:.4f}")
    print(f"  F1 Score: {result.accuracy_metrics['f1']:.4f}")
    print(f"  Recall: {result.accuracy_metrics['recall']:.4f}")
    print(f"  AUROC: {result.accuracy_metrics.get('auroc', 'N/A')}")

# Save results
suite.save_results("baseline_benchmark_results")
print("\\nResults saved!")
"""

EXAMPLES = {
    "quick start": QUICK_START,
    "custom suite, collector and stages": CUSTOM_SUITE,
    "comparison": COMPARISON,
    "timer, loader and metrics": TIMER_LOADER_METRICS,
    "own wrapper": OWN_WRAPPER,
    "complete workflow": COMPLETE_WORKFLOW,
}


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_the_example_runs(example, network, xrays, labels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = example.replace("IMAGES", str(xrays)).replace("CHECKPOINT", network).replace("LABELS", str(labels))
    exec(compile(code, "example", "exec"), {})


def test_importing_and_timing_loads_neither_torch_nor_matplotlib():
    code = """
    import sys
    import primum.benchmark
    from primum.benchmark import BaseInferenceWrapper, BenchmarkResult, BenchmarkSuite, DatasetLoader, StageTimer
    from primum.benchmark import OptimizationBenchmark, PyTorchInferenceWrapper, run_baseline_benchmark
    assert set(primum.benchmark.__all__) == set(primum.benchmark._PUBLIC)
    assert all(getattr(primum.benchmark, name) is not None for name in primum.benchmark.__all__)
    sys.exit(", ".join(m for m in ("torch", "matplotlib", "onnx", "openvino") if m in sys.modules))
    """
    done = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_an_unknown_name_is_an_attribute_error():
    import primum.benchmark

    with pytest.raises(AttributeError, match="no attribute 'Turbo'"):
        _ = primum.benchmark.Turbo
