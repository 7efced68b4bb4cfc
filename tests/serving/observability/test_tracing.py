"""Traces of requests, from a real server to a real collector's socket."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from served import FEATURES, call, server

from primum.errors import InputError
from primum.serving.http.witness import route_of
from primum.serving.observability.tracing import tracing_to

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
INFER = "/v2/models/risk/infer"


@pytest.fixture
def collector():
    """(its address, spans that came)."""
    spans = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            sent = trace_service.ExportTraceServiceRequest()
            sent.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
            spans.extend(span for one in sent.resource_spans for scope in one.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}/v1/traces", spans
        http.shutdown()


def asked(rows):
    return {
        "inputs": [{"name": "input", "shape": [rows, FEATURES], "datatype": "FP32", "data": [0.5] * FEATURES * rows}]
    }


def test_a_request_continues_its_callers_trace_and_tells_its_wait_and_its_call(artifact, collector):
    address, spans = collector
    with server(f"risk={artifact}", "--otlp", address) as port:
        caller = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "ris=Quillfeather"}
        assert call(port, "POST", INFER, {**asked(1), "id": "patient 7"}, caller)[0] == 200
        assert call(port, "GET", "/v2/models/somebody", None, caller)[0] == 404
    by_name = {span.name: span for span in spans}
    request = by_name["POST /v2/models/{model}/infer"]
    assert request.trace_id.hex() == TRACE and request.parent_span_id.hex() == PARENT
    told = {one.key: one.value for one in request.attributes}
    assert told["http.response.status_code"].int_value == 200
    for name in ("queue", "compute"):
        part = by_name[name]
        assert part.parent_span_id == request.span_id
        assert request.start_time_unix_nano - 2e6 <= part.start_time_unix_nano <= part.end_time_unix_nano
        assert part.end_time_unix_nano <= request.end_time_unix_nano + 2e6
    assert {one.key: one.value.int_value for one in by_name["compute"].attributes}["primum.batch.size"] == 1
    written = "".join(map(str, spans))
    assert "patient 7" not in written and "somebody" not in written
    assert "Quillfeather" not in written, "what a caller keeps in its trace is its own"


@pytest.mark.parametrize("over", [(), ("--max-batch-size", 4)])
def test_many_rows_are_a_call_each_chunk(artifact, collector, tmp_path, over):
    address, spans = collector
    (tmp_path / "batching.yaml").write_text(f"max_batch_size: {8 if over else 4}\n")
    with server(f"risk={artifact}", "--otlp", address, "--batching", tmp_path / "batching.yaml", *over) as port:
        assert call(port, "POST", INFER, asked(10))[0] == 200
    cases = [
        one.value.int_value
        for span in spans
        if span.name == "compute"
        for one in span.attributes
        if one.key == "primum.cases"
    ]
    assert sum(cases) == 10 and max(cases) <= 4


@given(st.text())
@example("models")
def test_what_a_caller_types_is_in_no_route(typed):
    route = route_of(f"/v2/models/{typed}/infer")
    assert route in ("/v2/models/{model}/infer", "{unknown}")


@pytest.mark.parametrize(("url", "share"), [("collector:4318", 1.0), ("http://127.0.0.1:1/v1/traces", 0.0)])
def test_options_that_make_no_sense_are_refused(url, share):
    with pytest.raises(InputError):
        tracing_to(url, share)
