"""The floor: a bare ASGI application, the model inline in the event loop, no batching, no framework, no protocol."""

from __future__ import annotations

import msgspec
from graph import BINARY, Graph, from_bytes, from_numbers

_GRAPH = Graph()


class _Case(msgspec.Struct):
    x: list[float]


_DECODER, _ENCODER = msgspec.json.Decoder(_Case), msgspec.json.Encoder()


async def app(scope, receive, send):
    """POST a case, get its logits; 400 for what is none."""
    if scope["type"] != "http":
        raise RuntimeError("only HTTP is served")
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    body, status = b"".join(parts), 200
    if scope["path"] == "/health":
        answer = b"{}"
    else:
        try:
            case = from_bytes(body) if BINARY else from_numbers(_DECODER.decode(body).x)
            answer = _ENCODER.encode({"y": _GRAPH(case[None])[0].tolist()})
        except (ValueError, TypeError, msgspec.MsgspecError):
            answer, status = b'{"error": "no such case"}', 400
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
