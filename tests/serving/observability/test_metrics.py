"""Metrics count requests as those who sent them do, by how they ended, and tell what an operator must act on."""

import asyncio

import numpy as np
import pytest
from served import FEATURES, build_artifact, call, coarse_model, risk_model, server

from primum.errors import ExecutorHung, InputError, RequestExpired, RequestRejected
from primum.serving.dataplane import DataPlane, Unavailable
from primum.serving.observability.tally import Histogram, Tally, outcome
from primum.serving.repository import Repository
from primum.serving.security.audit import AuditLog

ROWS = np.random.default_rng(0).normal(0, 1, (200, FEATURES)).round(3)


def samples(text):
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in text.decode().splitlines() if not line.startswith("#"))
    }


def asked(rows):
    one = {"name": "input", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    return {"inputs": [one]}


def test_each_request_counts_once_and_every_status_is_told(tmp_path):
    guarded = build_artifact(tmp_path / "guarded", coarse_model(), reference=risk_model())
    risk = build_artifact(tmp_path / "risk")
    with server(f"g={guarded}", f"risk={risk}", "--audit", tmp_path / "audit.jsonl") as port:
        for _ in range(4):
            assert call(port, "POST", "/v2/models/g/infer", asked(ROWS[:5]))[0] == 200
        for _ in range(3):
            assert call(port, "POST", "/v2/models/risk/infer", asked(ROWS))[0] == 200
        for body in ("{}", asked(ROWS[:1, :3])):
            assert call(port, "POST", "/v2/models/risk/infer", body)[0] == 400
        assert call(port, "POST", "/v2/models/none/infer", "{}")[0] == 404
        seen = samples(call(port, "GET", "/metrics")[2])
    answered = 'primum_inference_requests_total{{model="{}",outcome="result",reason="answered"}}'.format
    assert seen[answered("g")] == 4 and seen[answered("risk")] == 3
    assert seen['primum_inference_requests_total{model="risk",outcome="rejected",reason="invalid"}'] == 1
    ended = {name: value for name, value in seen.items() if name.startswith("primum_requests_total")}
    assert ended == {
        'primum_requests_total{code="200",model="g",outcome="answered",what="infer"}': 4,
        'primum_requests_total{code="200",model="risk",outcome="answered",what="infer"}': 3,
        'primum_requests_total{code="400",model="risk",outcome="refused",what="infer"}': 2,
        'primum_requests_total{code="404",model="",outcome="refused",what="infer"}': 1,
    }
    assert seen['primum_guarded_cases_total{model="g"}'] == 20
    assert 0 < seen['primum_deferred_cases_total{model="g"}'] < 20
    assert seen['primum_inference_duration_seconds_count{model="risk"}'] == 3
    assert seen['primum_inference_duration_seconds_bucket{le="+Inf",model="risk"}'] == 3
    assert 0 < seen['primum_inference_duration_seconds_sum{model="risk"}'] < 60
    assert seen["primum_audit_failing"] == 0 and seen["primum_audit_refused_requests_total"] == 0


def test_an_audit_log_that_cannot_be_written_is_told(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    plane = DataPlane(Repository([]), audit=log)
    plane.check_log()
    log.failure = "the disk is full"
    for _ in range(2):
        with pytest.raises(Unavailable):
            plane.check_log()
    seen = samples(plane.metrics())
    assert seen["primum_audit_failing"] == 1 and seen["primum_audit_refused_requests_total"] == 2
    assert "primum_audit_failing" not in samples(DataPlane(Repository([])).metrics())


def test_what_nobody_sent_is_no_request(tmp_path):
    from primum.serving.dataplane import Note

    plane = DataPlane(Repository([]))
    plane.note("SIGHUP", "load", Note("risk"), 200, by_caller=False)
    plane.note("ward-7", "load", Note("risk"), 503)
    assert [name for name in samples(plane.metrics()) if name.startswith("primum_requests_total")] == [
        'primum_requests_total{code="503",model="risk",outcome="failed",what="load"}'
    ]


def test_a_histogram_cumulates():
    histogram = Histogram()
    for seconds in (0.0005, 0.001, 0.3, 99.0):
        histogram.observe(seconds)
    found = dict(histogram.cumulated)
    assert found["0.001"] == 2 and found["0.25"] == 2 and found["0.5"] == 3 and found["10.0"] == 3
    assert found["+Inf"] == 4 and histogram.sum == pytest.approx(99.3015)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (InputError("x"), "rejected", "invalid"),
        (RequestRejected("queue_full"), "rejected", "queue_full"),
        (RequestRejected("loading"), "rejected", "loading"),
        (RequestExpired("deadline_passed"), "expired", "deadline_passed"),
        (ExecutorHung(1.0), "error", "executor_hung"),
        (asyncio.CancelledError(), "cancelled", "by_caller"),
        (RuntimeError(), "error", "model_error"),
    ],
)
def test_how_a_request_ended(error, kind, reason):
    tally = Tally()
    tally.failed(error)
    assert tally.ended == {(kind, reason): 1}


@pytest.mark.parametrize(
    ("status", "said"),
    [(200, "answered"), (202, "answered"), (404, "refused"), (429, "refused"), (499, "left"), (503, "failed"),
     (0, "answered"), (3, "refused"), (16, "refused"), (1, "left"), (4, "failed"), (14, "failed")],
)  # fmt: skip
def test_what_a_status_says_of_either_protocol(status, said):
    assert outcome(status) == said
