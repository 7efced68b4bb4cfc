"""Requests that are turned away unread: which may be, and what they are told."""

from __future__ import annotations

import re
from asyncio import WriteTransport

from primum.serving.wire.protocol import error_body

_BODY = error_body("the server has more requests than it can read; this one was not read")
_HEAD = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\ncontent-length: "
    + str(len(_BODY)).encode()
)
_SHED = _HEAD + b"\r\n\r\n" + _BODY
_SHED_LAST = _HEAD + b"\r\nconnection: close\r\n\r\n" + _BODY
_FOR_AN_ANSWER = re.compile(rb"POST /v2/models/[^ ?%]+/(?:infer|predict)(?:\?([^ %]*))? HTTP/1\.[01]\r\n")
"""Nothing that is written otherwise than it could be."""


def may_be_shed(data: bytes) -> bool:
    """Whether these bytes are one whole request for a model's answer that asks for no urgency; unsure is no."""
    asked = _FOR_AN_ANSWER.match(data)
    if asked is None or b"priority" in (asked[1] or b"") or b'"priority"' in data or b"\\u" in data:
        return False
    end = data.find(b"\r\n\r\n")
    length = _header(data[:end].lower(), b"content-length") if end >= 0 else b""
    return length.isdigit() and len(data) == end + 4 + int(length)


def turn_away(transport: WriteTransport, data: bytes) -> None:
    """Answer a request that may be shed; where it was to be its connection's last, hang up."""
    head = data[: data.find(b"\r\n\r\n")].lower()
    last = b"close" in _header(head, b"connection") or b" http/1.0\r\n" in head
    transport.write(_SHED_LAST if last else _SHED)
    if last:
        transport.close()


def _header(head: bytes, name: bytes) -> bytes:
    """Its value in a head in small letters; empty where there is none."""
    start = head.find(b"\r\n" + name + b":")
    return b"" if start < 0 else head[start + len(name) + 3 :].split(b"\r\n", 1)[0].strip()
