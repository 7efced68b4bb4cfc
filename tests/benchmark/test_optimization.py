import json
import math

import pytest
import torch
from PIL import Image
from torch import nn

from primum.benchmark import OptimizationBenchmark, benchmark_optimizations
from primum.benchmark.optimization import size_bytes
from primum.errors import InputError

THREE = torch.ones(3, 32)


def network(width=64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, width), nn.ReLU(), nn.Linear(width, 2)).train()


def inputs():
    return torch.ones(1, 32)


class Slow(nn.Module):
    def __init__(self, inner, repeats):
        super().__init__()
        self.inner, self.repeats = inner, repeats

    def forward(self, x):
        for _ in range(self.repeats):
            out = self.inner(x)
        return out


class Shifting(nn.Module):
    """Changes its input in place."""

    def forward(self, x, *more):
        return x.sub_(5.0).clone()


class Broken(nn.Module):
    def forward(self, x):
        raise RuntimeError("no kernel for this")


def test_the_example_of_the_specification(tmp_path):
    original_model, quantized_model, pruned_model = network(), network(), network(16)
    benchmark = OptimizationBenchmark(model=original_model, input_generator=inputs)
    benchmark.benchmark_original_model()
    benchmark.benchmark_optimized_model(quantized_model, "Quantization")
    benchmark.benchmark_optimized_model(pruned_model, "Pruning")
    report = benchmark.generate_report()
    comparison = benchmark.compare_optimizations()
    assert set(comparison) == set(report["comparison"]) == {"Quantization", "Pruning"}
    assert report["original"]["count"] == 100


def test_an_identical_copy_agrees_exactly_and_weighs_the_same():
    row = OptimizationBenchmark(network(), inputs).benchmark_optimized_model(network(), "copy")
    assert row["max_abs_difference"] == row["mean_abs_difference"] == 0
    assert row["size_ratio"] == 1
    assert row["speedup_lower"] <= row["speedup"] <= row["speedup_upper"]


def test_a_model_that_does_the_work_many_times_is_slower_beyond_doubt():
    row = OptimizationBenchmark(network(), inputs).benchmark_optimized_model(Slow(network(), 12), "slow")
    assert row["speedup_upper"] < 0.5


def test_differences_of_outputs_are_measured():
    other = network()
    with torch.no_grad():
        other[2].bias += torch.tensor([0.25, -0.5])
    row = OptimizationBenchmark(network(), inputs).benchmark_optimized_model(other, "shifted")
    assert row["max_abs_difference"] == pytest.approx(0.5, abs=1e-6)
    assert row["mean_abs_difference"] == pytest.approx(0.375, abs=1e-6)
    assert "accuracy" not in row


def test_outputs_of_another_shape_are_no_agreement():
    row = OptimizationBenchmark(network(), inputs).benchmark_optimized_model(nn.Linear(32, 3), "three")
    assert math.isnan(row["max_abs_difference"])


def test_packed_quantized_weights_are_counted():
    quantized = torch.ao.quantization.quantize_dynamic(network().eval(), {nn.Linear}, dtype=torch.qint8)
    assert size_bytes(network()) == 4 * (32 * 64 + 64 + 64 * 2 + 2)
    weights = 32 * 64 + 64 * 2
    assert weights < size_bytes(quantized) < 4 * weights
    assert size_bytes(lambda x: x) is None


def test_modes_are_given_back_and_no_gradient_is_kept():
    model = network()
    OptimizationBenchmark(model, inputs).benchmark_original_model()
    assert model.training
    assert model[0].weight.grad is None


@pytest.mark.parametrize(
    "generator",
    [
        lambda batch_size: torch.ones(batch_size, 32),
        lambda x=THREE: x,
        lambda: (THREE,),
        lambda: {"input": THREE},
    ],
)
def test_inputs_may_come_in_every_usual_form(generator):
    seen = []

    class Watch(nn.Linear):
        def forward(self, input):
            seen.append(len(input))
            return super().forward(input)

    OptimizationBenchmark(Watch(32, 2), generator, batch_size=3, rounds=1, calls=1).benchmark_original_model()
    assert set(seen) == {3}


def test_a_model_that_fails_is_a_row_and_the_others_go_on(tmp_path):
    models = {"broken": Broken(), "copy": network()}
    report = benchmark_optimizations(network(), models, inputs, rounds=3, output_dir=tmp_path)
    assert report["comparison"]["broken"]["error"] == "RuntimeError: no kernel for this"
    assert list(report["comparison"]) == ["copy", "broken"]
    assert "FAILED: RuntimeError" in (tmp_path / "optimization.txt").read_text()
    assert json.loads((tmp_path / "optimization.json").read_text())["optimized"]["copy"]["size_ratio"] == 1
    assert Image.open(tmp_path / "optimization.png").size[0] > 300


def test_one_model_alone_raises_what_it_raises():
    with pytest.raises(RuntimeError, match="no kernel"):
        OptimizationBenchmark(network(), inputs).benchmark_optimized_model(Broken(), "broken")


def test_the_same_name_twice_overwrites_nothing():
    benchmark = OptimizationBenchmark(network(), inputs, rounds=2, calls=2)
    benchmark.benchmark_optimized_model(network(), "INT8")
    benchmark.benchmark_optimized_model(network(16), "INT8")
    assert set(benchmark.compare_optimizations()) == {"INT8", "INT8_2"}


def test_a_report_needs_timings():
    with pytest.raises(InputError, match="benchmark_original_model"):
        OptimizationBenchmark(network(), inputs).generate_report()
    with pytest.raises(InputError):
        OptimizationBenchmark(network(), inputs, rounds=0)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x, [x]), lambda x: {"x": x}])
def test_a_model_that_changes_its_inputs_is_compared_on_the_same_inputs(wrap):
    example = torch.ones(1, 32)
    benchmark = OptimizationBenchmark(Shifting(), lambda: wrap(example), rounds=2, calls=2)
    row = benchmark.benchmark_optimized_model(Shifting(), "copy")
    assert row["max_abs_difference"] == 0 and (example == 1).all()
