"""What is noted of each request beside its answer: a trace and a line in the log, where they are asked for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from primum.serving.http.pages import PATHS
from primum.serving.http.responses import Response
from primum.serving.observability.logs import note
from primum.serving.observability.tracing import Tracing

_TEMPLATES: Mapping[str, str] = {"models": "{model}", "versions": "{version}", "jobs": "{job}"}
_KNOWN = {"v2", "health", "live", "ready", "models", "versions", "infer", "predict", "repository", "index", "load"}
_KNOWN |= {"unload", "metrics", "openapi.json", "optimization", "status", "optimize-model", "batch-predict", "jobs"}
_KNOWN |= {part for path in PATHS for part in path.split("/")}


def route_of(path: str) -> str:
    """The path with names in place of what callers put there; what is unknown is never quoted."""
    found: list[str] = []
    for part in path.strip("/").split("/"):
        # Of what stands in `found`, so that a model called "models" is a name and no collection.
        if found and found[-1] in _TEMPLATES and part != "index":
            found.append(_TEMPLATES[found[-1]])
        elif part in _KNOWN:
            found.append(part)
        else:
            return "{unknown}"
    return "/" + "/".join(found)


class Witness:
    """Wraps the handling of requests. `log`: a line for each."""

    def __init__(self, tracing: Tracing | None, log: bool) -> None:
        self._tracing, self._log = tracing, log

    async def handled(self, scope: Mapping[str, Any], handle: Callable[[], Awaitable[Response]]) -> Response:
        """What `handle` answers."""
        method, route, start = scope["method"], route_of(scope["path"]), time.perf_counter()
        if self._tracing is None:
            response = await handle()
        else:
            response = await self._traced(self._tracing, method, route, scope["headers"], handle)
        if self._log:
            status, took = int(response.status), round((time.perf_counter() - start) * 1e3, 3)
            note("request", method=method, route=route, status=status, ms=took)
        return response

    async def _traced(
        self,
        tracing: Tracing,
        method: str,
        route: str,
        headers: Sequence[tuple[bytes, bytes]],
        handle: Callable[[], Awaitable[Response]],
    ) -> Response:
        carrier = {key.decode("latin-1"): value.decode("latin-1") for key, value in headers if key.startswith(b"trace")}
        with tracing.request(f"{method} {route}", carrier, http__request__method=method, http__route=route) as traced:
            response = await handle()
            traced.tell(http__response__status_code=int(response.status))
            if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                traced.fail()
        return response
