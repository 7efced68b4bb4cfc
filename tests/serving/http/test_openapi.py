"""The description of the paths: valid, and what the server does is what it says."""

import pytest
from pictures import picture_artifact
from served import call, server

from primum.serving.http.openapi import document
from primum.serving.http.witness import route_of


def test_the_server_gives_its_description(port):
    status, _, found = call(port, "GET", "/openapi.json")
    assert status == 200 and found == document(("risk",), authenticated=False)
    assert found["paths"]["/v2/models/{model}/infer"]["post"]["responses"]["503"]


@pytest.fixture
def fuzzed(artifact, tmp_path):
    """A server of the test's own, whose models it may unload."""
    (tmp_path / "studies.yaml").write_text("out: o\nstudies: {heart: {model: 'none:build', data: none.csv}}")
    models = (f"risk={artifact}", f"chest={picture_artifact(tmp_path / 'chest')}")
    with server(*models, "--studies", tmp_path / "studies.yaml") as port:
        yield port


def test_no_request_made_from_it_is_answered_by_a_failure_of_the_server(fuzzed):
    port = fuzzed
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    # That a described request is accepted cannot hold: a description knows no model's shapes.
    held = [not_a_server_error, checks.status_code_conformance, checks.content_type_conformance]
    held.append(checks.response_schema_conformance)
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 21

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def every_answer_is_described(data):
        operation = data.draw(st.sampled_from(operations))
        case = data.draw(operation.as_strategy())
        asked = (case.query or {}).get("timeout_ms")
        if isinstance(asked, int | float) and 0 < asked < 10_000:
            case.query["timeout_ms"] = 10_000  # a deadline that passes is rightly answered 504: test_batches
        case.call_and_validate(base_url=f"http://127.0.0.1:{port}", checks=held)

    every_answer_is_described()


@pytest.mark.parametrize("path", ["/optimization/status", "/v2/models/risk", "/v2"])
def test_what_is_told_is_what_is_described(port, path):
    """Not left to the draw: each of these is asked once."""
    jsonschema = pytest.importorskip("jsonschema")
    described = call(port, "GET", "/openapi.json")[2]
    route = path.replace("risk", "{model}")
    schema = described["paths"][route]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    told = call(port, "GET", path)[2]
    jsonschema.validate(told, {**schema, "components": described["components"]})


def test_every_path_has_a_name_in_traces_and_logs(port):
    described = call(port, "GET", "/openapi.json")[2]["paths"]
    assert described and all(route_of(path.replace("{", "").replace("}", "")) != "{unknown}" for path in described)
