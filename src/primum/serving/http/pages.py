"""The pages: files without data. What `/live` draws it asks of `/optimization/status`, with a key of its own; `/docs`
draws `/openapi.json`, and tries its paths.
"""

from __future__ import annotations

from http import HTTPStatus
from importlib import resources

from primum.serving.http.responses import Response

PATHS = {
    "live": ("live.html", "text/html"),
    "docs": ("docs.html", "text/html"),
    "pages/page.css": ("page.css", "text/css"),
    "pages/live.js": ("live.js", "text/javascript"),
    "pages/docs.js": ("docs.js", "text/javascript"),
}
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'"
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
]


def page(path: str) -> Response | None:
    """The file of a path; None where it is none of theirs."""
    if path not in PATHS:
        return None
    name, kind = PATHS[path]
    content = resources.files("primum.serving.pages").joinpath(name).read_bytes()
    return Response(HTTPStatus.OK, [(b"content-type", f"{kind}; charset=utf-8".encode()), *_HEADERS], content)
