"""The state of the service as data: it says what happened."""

import numpy as np
from served import FEATURES, build_artifact, call, server

from primum.data.preprocessing_array import ArrayPreprocessing


def test_status_tells_models_requests_memory_and_what_is_unloaded(tmp_path, artifact):
    risk = build_artifact(tmp_path / "risk", preprocessing=ArrayPreprocessing(), verdict="NON_INFERIOR")
    with server(f"risk={risk}", f"other={artifact}") as port:
        before = call(port, "GET", "/optimization/status")[2]
        data = np.zeros((30, FEATURES)).tolist()
        asked = {"model_name": "risk", "data": data, "priority": 1}
        performance = call(port, "POST", "/optimization/batch-predict", asked)[2]["performance"]
        call(port, "POST", "/v2/repository/models/other/unload")
        after = call(port, "GET", "/optimization/status")[2]
    first, second = after["models"]
    assert first["verdict"] == "NON_INFERIOR" and not first["unproven"] and not first["guarded"]
    assert first["recipe"] == "onnxruntime[fp32, threads=1]" and first["runs"]["precision"] == "fp32"
    told = first["batching"]
    assert before["models"][0]["batching"]["latency_ms"]["p99"] is None, "nothing is made up"
    assert told["requests"] == told["outcomes"]["result"] == told["latency_ms"]["n"] == 30
    assert told["queue_ms"]["emergency"]["n"] == 30 and told["queue_ms"]["routine"]["n"] == 0
    assert told["batch_sizes"] == performance["batch_sizes"] and told["batches"] == performance["batches"]
    assert told["compute_ms"]["n"] == told["batches"] and 0 <= told["compute_ms"]["p50"] <= told["latency_ms"]["p99"]
    assert second["state"] == "UNAVAILABLE" and "batching" not in second
    assert after["uptime_s"] > before["uptime_s"] > 0 and after["memory"]["peak_bytes"] > 10_000_000
    assert 0 < after["memory"]["used_bytes"] <= after["memory"]["limit_bytes"] and after["memory"]["source"]
    assert after["machine"]["libraries"]["onnxruntime"]
