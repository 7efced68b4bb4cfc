import json
import math
from dataclasses import fields

import pytest

from primum.benchmark import BenchmarkResult, ResultsCollector, calculate_stage_statistics


def result(name, median, accuracy=None, error=None):
    total = {} if error else {"total": calculate_stage_statistics([median] * 30)}
    metrics = {} if accuracy is None else {"accuracy": accuracy}
    average = math.nan if error else median
    return BenchmarkResult(name, 0 if error else 30, total, metrics, average, "2030-01-01T00:00:00", error=error)


def test_the_fields_of_the_specification_come_first():
    names = [f.name for f in fields(BenchmarkResult)]
    first = ["approach_name", "num_samples", "stage_stats", "accuracy_metrics", "total_time_avg", "timestamp"]
    assert names[:6] == first


def test_speedups_are_against_the_first_and_say_that_they_are_not_interleaved():
    collector = ResultsCollector()
    for item in (result("torch", 8.0, 0.9), result("onnx", 2.0, 0.8), result("onnx", 4.0)):
        collector.add_result(item)
    comparison = collector.compare_approaches()
    assert {name: row["speedup"] for name, row in comparison.items()} == {"torch": 1, "onnx": 4, "onnx_2": 2}
    assert not comparison["onnx"]["interleaved"]
    assert math.isnan(comparison["onnx_2"]["accuracy"])


def test_a_failure_is_no_yardstick():
    collector = ResultsCollector()
    for item in (result("broken", 0, error="no"), result("torch", 8.0), result("onnx", 4.0)):
        collector.add_result(item)
    comparison = collector.compare_approaches()
    assert comparison["onnx"]["speedup"] == 2
    assert math.isnan(comparison["broken"]["speedup"])
    summary = collector.get_summary()
    assert (summary["fastest"], summary["most_accurate"], summary["failed"]) == ("onnx", None, {"broken": "no"})


def test_an_empty_collector_is_no_error(tmp_path):
    collector = ResultsCollector()
    assert collector.compare_approaches() == {}
    assert collector.get_summary()["num_results"] == 0


def test_saved_results_are_strict_json(tmp_path):
    collector = ResultsCollector()
    collector.add_result(result("torch", 8.0))
    collector.save_to_file(str(tmp_path / "deep" / "results.json"))

    def refuse(constant):
        pytest.fail(f"{constant} is no JSON")

    content = json.loads((tmp_path / "deep" / "results.json").read_text(), parse_constant=refuse)
    assert content["results"][0]["approach_name"] == "torch"
    assert content["results"][0]["load_ms"] is None
