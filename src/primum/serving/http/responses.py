"""Answers to requests over HTTP: which status an error has, and what its text may say."""

from __future__ import annotations

from http import HTTPStatus
from math import ceil
from typing import NamedTuple

from primum.errors import ExecutorDied, ExecutorHung, InputError, PrimumError, RequestExpired, RequestRejected
from primum.serving.dataplane import NotFound, Unavailable
from primum.serving.security.access import AccessDenied
from primum.serving.wire.protocol import error_body, shortened

JSON = (b"content-type", b"application/json")
_INVALID = ("invalid", "too_large")


class Response(NamedTuple):
    """Status, headers and body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class HttpError(Exception):
    """An answer that is no success, with a text that names nobody."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


def failure(error: Exception) -> Response:
    """The answer to a request that ended in `error`. What the model raised is not told: it might quote a patient."""
    headers = [JSON]
    if isinstance(error, AccessDenied):
        return _denied(error)
    if isinstance(error, HttpError):
        return Response(error.status, headers, error_body(str(error)))
    if isinstance(error, NotFound):
        return Response(HTTPStatus.NOT_FOUND, headers, error_body(str(error)))
    if isinstance(error, RequestRejected):
        headers += _retry_after(error.retry_after_s)
        status = HTTPStatus.BAD_REQUEST if error.reason in _INVALID else HTTPStatus.SERVICE_UNAVAILABLE
        return Response(status, headers, error_body(str(error)))
    if isinstance(error, RequestExpired):
        return Response(HTTPStatus.GATEWAY_TIMEOUT, headers, error_body(str(error)))
    if isinstance(error, InputError):
        return Response(HTTPStatus.BAD_REQUEST, headers, error_body(str(error)))
    if isinstance(error, ExecutorHung | ExecutorDied | Unavailable):
        return Response(HTTPStatus.SERVICE_UNAVAILABLE, headers, error_body(str(error)))
    return Response(HTTPStatus.INTERNAL_SERVER_ERROR, headers, error_body(told(error)))


def told(error: Exception) -> str:
    """What may be told of an error."""
    known = isinstance(error, PrimumError | HttpError)
    return shortened(str(error)) if known else f"the model failed ({type(error).__name__})"


def _denied(error: AccessDenied) -> Response:
    if error.retry_after_s is not None:
        headers = [JSON, *_retry_after(error.retry_after_s)]
        return Response(HTTPStatus.TOO_MANY_REQUESTS, headers, error_body(str(error)))
    if error.known:
        return Response(HTTPStatus.FORBIDDEN, [JSON], error_body(str(error)))
    return Response(HTTPStatus.UNAUTHORIZED, [JSON, (b"www-authenticate", b"Bearer")], error_body(str(error)))


def _retry_after(seconds: float | None) -> list[tuple[bytes, bytes]]:
    """Whole seconds, as the header has them (RFC 9110)."""
    return [] if seconds is None else [(b"retry-after", str(max(1, ceil(seconds))).encode())]
