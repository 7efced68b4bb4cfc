"""The server over a real socket: the protocol's paths, its errors, its answers against the artifact's own."""

import json

import numpy as np
import pytest
from served import FEATURES, call, server

import primum

INFER = "/v2/models/risk/infer"


def asked(rows, **changes):
    rows = np.asarray(rows, np.float32)
    one = {"name": "input", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    return {"inputs": [one], **changes}


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(0, 1, (40, FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(artifact, rows):
    with primum.load(artifact) as predictor:
        return predictor.predict_tensor(rows)


def test_answers_are_the_artifacts_own(port, rows, expected):
    status, _, answer = call(port, "POST", INFER, asked(rows[:1], id="case-7"))
    assert status == 200 and answer["id"] == "case-7" and answer["model_name"] == "risk"
    probabilities, decision = answer["outputs"]
    assert probabilities["shape"] == [1, 2] and decision["datatype"] == "INT64"
    np.testing.assert_allclose(probabilities["data"], expected[0], atol=1e-6)
    assert decision["data"] == [int(expected[0, 1] >= 0.5)]


def test_more_cases_than_a_batch_holds_are_answered_in_order(port, rows, expected):
    status, _, answer = call(port, "POST", INFER, asked(rows))
    assert status == 200 and answer["outputs"][0]["shape"] == [40, 2]
    np.testing.assert_allclose(np.reshape(answer["outputs"][0]["data"], (40, 2)), expected, atol=1e-6)


def test_binary_data_in_and_out(port, rows, expected):
    one = {
        "name": "input",
        "shape": [2, FEATURES],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 8 * FEATURES},
    }
    head = json.dumps({"inputs": [one], "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    status, headers, content = call(port, "POST", INFER, head + rows[:2].tobytes(), length)
    assert status == 200 and headers["content-type"] == "application/octet-stream"
    start = int(headers["inference-header-content-length"])
    told = json.loads(content[:start])
    assert [o["parameters"]["binary_data_size"] for o in told["outputs"]] == [32, 16]
    np.testing.assert_allclose(np.frombuffer(content[start:], np.float64, 4).reshape(2, 2), expected[:2], atol=1e-6)


def test_a_body_of_nothing_but_rows_is_answered_in_binary_data(port, rows, expected):
    status, headers, content = call(port, "POST", INFER, rows[:3].tobytes(), {"Inference-Header-Content-Length": "0"})
    assert status == 200 and headers["content-type"] == "application/octet-stream"
    start = int(headers["inference-header-content-length"])
    assert json.loads(content[:start])["outputs"][0]["shape"] == [3, 2]
    np.testing.assert_allclose(np.frombuffer(content[start:], np.float64, 6).reshape(3, 2), expected[:3], atol=1e-6)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", f"of {4 * FEATURES} bytes each; it has 0"),
        (bytes(4 * FEATURES + 1), f"it has {4 * FEATURES + 1}"),
        (json.dumps({"inputs": []}).encode(), "FP32 [-1, 32]"),
        (np.full(FEATURES, np.nan, np.float32).tobytes(), "not finite"),
    ],
)
def test_a_body_that_is_no_whole_number_of_rows_is_refused(port, sent, said):
    status, _, told = call(port, "POST", INFER, sent, {"Inference-Header-Content-Length": "0"})
    assert status == 400 and said in told["error"]


def test_what_the_server_tells_of_itself(port):
    status, _, told = call(port, "GET", "/v2")
    assert status == 200 and told["name"] == "primum" and "binary_tensor_data" in told["extensions"]
    assert call(port, "GET", "/v2/health/live")[2] == {"live": True}
    assert call(port, "GET", "/v2/health/ready")[2] == {"live": True, "ready": True}
    assert call(port, "GET", "/v2/models/risk/ready")[2] == {"name": "risk", "ready": True}
    _, _, model = call(port, "GET", "/v2/models/risk")
    assert model["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, FEATURES]}]
    assert [o["name"] for o in model["outputs"]] == ["probabilities", "decision"]
    (version,) = model["versions"]
    assert model["properties"]["sha256"].startswith(version)
    assert call(port, "GET", f"/v2/models/risk/versions/{version}")[2] == model
    assert call(port, "POST", f"/v2/models/risk/versions/{version}/infer", asked(np.zeros((1, FEATURES))))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/v2/models/other/infer", asked(np.zeros((1, FEATURES))), 404, "there are: risk"),
        ("POST", "/v2/models/risk/versions/9/infer", asked(np.zeros((1, FEATURES))), 404, "is here in version"),
        ("GET", INFER, None, 405, "takes POST"),
        ("POST", "/v2", {}, 405, "takes GET"),
        ("GET", "/predict", None, 404, "begins at /v2"),
        ("GET", "/v2/health/well", None, 404, "no such path"),
        ("POST", INFER, asked(np.zeros((1, FEATURES - 1))), 400, f"shape [-1, {FEATURES}]"),
        ("POST", INFER, asked(np.zeros((1, 1, FEATURES))), 400, f"shape [-1, {FEATURES}]"),
        ("POST", INFER, {"inputs": []}, 400, "takes one input"),
        ("POST", INFER, b"{", 400, "Open Inference Protocol"),
        ("POST", INFER, asked(np.zeros((1, FEATURES)), outputs=[{"name": "logits"}]), 400, "no output 'logits'"),
    ],
)
def test_errors_have_the_right_status_and_a_text(port, method, path, body, status, said):
    found, headers, answer = call(port, method, path, body)
    assert found == status and headers["content-type"] == "application/json"
    assert said in answer["error"]


def test_a_body_that_is_too_large_is_not_read(port):
    status, _, answer = call(port, "POST", INFER, b"", {"Content-Length": str(2**40)})
    assert status == 413 and "larger" in answer["error"]


def test_a_deadline_that_cannot_be_met_is_refused_and_the_next_request_answered(port, rows):
    status, _, answer = call(port, "POST", INFER, asked(rows[:1], parameters={"timeout": 1}))
    assert status in (503, 504) and answer["error"]
    assert call(port, "POST", INFER, asked(rows[:1]))[0] == 200


def test_metrics_count_what_happened(port, rows):
    before = metric(port, 'primum_inference_requests_total{model="risk",outcome="result",reason="answered"}')
    for _ in range(3):
        call(port, "POST", INFER, asked(rows[:1]))
    after = metric(port, 'primum_inference_requests_total{model="risk",outcome="result",reason="answered"}')
    assert after - before == 3
    assert metric(port, 'primum_queue_requests{model="risk",priority="emergency"}') == 0


def metric(port, name):
    text = call(port, "GET", "/metrics")[2].decode()
    return float(next(line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(name)))


def test_an_unproven_model_says_so_in_metadata_and_answers(port, unproven):
    one = asked(np.zeros((1, FEATURES)))
    assert call(port, "GET", "/v2/models/risk")[2]["properties"]["unproven"] is False
    assert "parameters" not in call(port, "POST", INFER, one)[2]
    with server(f"risk={unproven}") as other:
        assert call(other, "GET", "/v2/models/risk")[2]["properties"]["unproven"] is True
        assert call(other, "POST", INFER, one)[2]["parameters"] == {"unproven": True}
