"""Requests that a browser was made to send by a page of somebody else's: they change nothing here.

Where nobody is asked who they are, or a browser shows the user's certificate by itself, any page could unload a model.
A browser says with each such request which page it comes from (`Origin`, RFC 6454), and sends a form's content types
without asking first; programs do neither.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from primum.serving.http.responses import HttpError


def demand_own(headers: Mapping[bytes, bytes], anybody: bool) -> None:
    """Raises HttpError for a request that changes something and comes from a page that is not this server's, or with a
    body that is not said to be JSON. `anybody`: nobody is asked who they are; then a name in `Host` is no proof, for
    whoever owns the name may have it point here.
    """
    origin, host = headers.get(b"origin"), headers.get(b"host", b"").decode("latin-1").lower()
    if origin is not None and not _own(origin.decode("latin-1").lower(), host, anybody):
        raise HttpError(HTTPStatus.FORBIDDEN, "a page of another server may change nothing here")
    kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if kind not in ("", "application/json") and _has_body(headers):
        raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "this path takes application/json")


def _own(origin: str, host: str, anybody: bool) -> bool:
    try:
        sent, here = urlsplit(origin), urlsplit(f"//{host}")
        ports = {"http": 80, "https": 443}
        same = (sent.hostname, sent.port or ports.get(sent.scheme)) == (
            here.hostname,
            here.port or ports.get(sent.scheme),
        )
        return bool(sent.hostname) and same and not (anybody and _named(str(here.hostname)))
    except ValueError:
        return False


def _named(host: str) -> bool:
    if host == "localhost":
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def _has_body(headers: Mapping[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0").strip() != b"0"
