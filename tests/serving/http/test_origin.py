"""What a page of somebody else's makes a browser send changes nothing here."""

import pytest
from served import call, server

from primum.serving.http.origin import demand_own
from primum.serving.http.responses import HttpError

JSON = {b"content-type": b"application/json", b"content-length": b"2"}


def allowed(anybody=True, **headers):
    sent = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    try:
        demand_own(sent, anybody)
    except HttpError as error:
        return int(error.status)
    return 200


@pytest.mark.parametrize(
    ("origin", "host", "open_to_anybody", "asking"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", 200, 200),
        ("http://[::1]:8000", "[::1]:8000", 200, 200),
        ("http://localhost", "localhost:80", 200, 200),
        ("https://primum.example", "primum.example", 403, 200),
        ("https://primum.example:443", "PRIMUM.example", 403, 200),
        ("https://evil.example", "127.0.0.1:8000", 403, 403),
        ("http://127.0.0.1:9000", "127.0.0.1:8000", 403, 403),
        ("http://localhost:8000", "127.0.0.1:8000", 403, 403),
        ("null", "127.0.0.1:8000", 403, 403),
        ("", "", 403, 403),
        ("http://127.0.0.1:x", "127.0.0.1:x", 403, 403),
        ("http://[", "[", 403, 403),
    ],
)
def test_only_pages_of_this_server_may_change_something(origin, host, open_to_anybody, asking):
    assert allowed(True, origin=origin, host=host) == open_to_anybody
    assert allowed(False, origin=origin, host=host) == asking


def test_programs_which_name_no_page_may():
    assert allowed(host="evil.example") == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "application/json", "content_length": "2"}, 200),
        ({"content_type": "Application/JSON; charset=utf-8", "content_length": "2"}, 200),
        ({"content_length": "2"}, 200),
        ({"content_type": "text/plain", "content_length": "0"}, 200),
        ({"content_type": "text/plain"}, 200),
        ({"content_type": "text/plain", "content_length": "2"}, 415),
        ({"content_type": "text/plain", "transfer_encoding": "chunked"}, 415),
        ({"content_type": "application/x-www-form-urlencoded", "content_length": "2"}, 415),
        ({"content_type": "application/jsonp", "content_length": "2"}, 415),
    ],
)
def test_a_body_that_changes_something_is_json(headers, status):
    assert allowed(**headers) == status


def test_a_foreign_page_unloads_nothing_and_infers_as_before(artifact):
    with server(f"risk={artifact}") as port:
        unload = "/v2/repository/models/risk/unload"
        evil = {"Content-Type": "text/plain", "Origin": "https://evil.example", "Host": "evil.example"}
        for method, path, body in (
            ("POST", unload, "{}"),
            ("POST", "/v2/repository/models/risk/load", None),
            ("POST", "/optimization/optimize-model", "{}"),
            ("DELETE", "/optimization/jobs/1", None),
        ):
            assert call(port, method, path, body, evil)[0] == 403
            if body is not None:
                assert call(port, method, path, body, {"Content-Type": "text/plain"})[0] == 415
        assert call(port, "GET", "/v2/models/risk/ready")[0] == 200
        assert call(port, "POST", unload, "{}", {"Content-Type": "application/json"})[0] == 200
        assert call(port, "GET", "/v2/models/risk/ready")[0] == 404
