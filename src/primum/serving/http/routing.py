"""Paths beside inference: one table from a path to who may ask, the word for it in the log, and what answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec

from primum.errors import InputError
from primum.serving.dataplane import Note
from primum.serving.http.responses import JSON, HttpError, Response
from primum.serving.security.access import Scope

QUERY = ("priority", "timeout_ms")
"""Parameters that a query may have."""
_Body = TypeVar("_Body", bound=msgspec.Struct)


@dataclass
class Call:
    """One request to a handler, whose caller was recognised and may ask it."""

    names: tuple[str, ...]
    """What stands in the path for each `*` of the route."""
    query: Mapping[str, str]
    content_type: str
    read: Callable[[], Awaitable[bytes]]
    """The body; raises HttpError where it is too large."""
    note: Note = field(default_factory=Note)
    came: float | None = None
    """When (`monotonic`), where it waited to be read."""

    async def read_as(self, kind: type[_Body]) -> _Body:
        """The body as JSON of that kind; an empty one is an empty object. Raises InputError."""
        return decoded(await self.read(), kind)


Handler = Callable[[Call], Awaitable[Any]]
"""Answers with what becomes JSON, or with a whole Response."""


class Route(NamedTuple):
    """`path`: segments, `*` for any one."""

    method: str
    path: str
    scope: Scope
    what: str
    """The log's word for it."""
    handler: Handler
    changes: bool = False
    """Whether it changes what the server does for others."""


class Found(NamedTuple):
    """A route, and what stands in the path for each `*` of it."""

    route: Route
    names: tuple[str, ...]


class Routes:
    """A table of routes."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [(route.path.strip("/").split("/"), route) for route in routes]

    def find(self, method: str, parts: Sequence[str]) -> Found | None:
        """The route of a path; None where the path is none of the table. Raises HttpError for another method."""
        allowed = []
        for pattern, route in self._routes:
            if len(pattern) == len(parts) and all(p in ("*", part) and part for p, part in zip(pattern, parts)):
                if method == route.method or (method == "HEAD" and route.method == "GET"):
                    return Found(route, tuple(part for p, part in zip(pattern, parts) if p == "*"))
                allowed.append(route.method)
        if allowed:
            raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, f"this path takes {' or '.join(allowed)}")
        return None


def response(value: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """An answer in JSON."""
    return Response(status, [JSON], msgspec.json.encode(value))


def decoded(body: bytes, kind: type[_Body]) -> _Body:
    """A body of JSON as that kind; an empty one is an empty object. Raises InputError, which quotes no value."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.MsgspecError as error:
        raise InputError(f"the body is not what this path takes: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError("the body is not valid UTF-8") from error
    except RecursionError as error:
        raise InputError("the body is nested too deep") from error


def parsed_query(raw: bytes, known: Sequence[str]) -> dict[str, str]:
    """The parameters of a query string. Raises InputError where one is not known, or there twice."""
    pairs = parse_qsl(raw.decode("ascii", "replace"), keep_blank_values=True)
    names = [name for name, _ in pairs]
    if strange := [name for name in names if name not in known]:
        raise InputError(f"there is no query parameter {strange[0][:40]!r}; this server knows {', '.join(known)}")
    if len(set(names)) < len(names):
        raise InputError("a query parameter is given twice")
    return dict(pairs)


def schedule_of(query: Mapping[str, str]) -> tuple[int, float | None]:
    """Priority (0: default) and timeout in seconds of a query. Raises InputError."""
    priority, timeout = query.get("priority", "0"), query.get("timeout_ms")
    if not (priority.isascii() and priority.isdigit() and len(priority) < 4):
        raise InputError("the query parameter priority is a whole number of at least 0")
    return int(priority), None if timeout is None else checked_timeout(timeout)


def checked_timeout(given: str | float) -> float:
    """Milliseconds as seconds. Raises InputError."""
    try:
        timeout = float(given)
    except ValueError:
        timeout = 0.0
    if not 0 < timeout < 1e9:
        raise InputError("timeout_ms is a number above 0")
    return timeout / 1e3
