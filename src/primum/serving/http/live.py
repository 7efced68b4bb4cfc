"""The live page: three files without data; what it draws it asks of `/optimization/status`, with a key of its own."""

from __future__ import annotations

from http import HTTPStatus
from importlib import resources

from primum.serving.http.responses import Response

PATHS = {
    "live": ("page.html", "text/html"),
    "live/page.css": ("page.css", "text/css"),
    "live/page.js": ("page.js", "text/javascript"),
}
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'"
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
]


def page(path: str) -> Response | None:
    """The file of a path; None where it is none of the page's."""
    if path not in PATHS:
        return None
    name, kind = PATHS[path]
    content = resources.files("primum.serving.live").joinpath(name).read_bytes()
    return Response(HTTPStatus.OK, [(b"content-type", f"{kind}; charset=utf-8".encode()), *_HEADERS], content)
