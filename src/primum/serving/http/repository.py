"""The model repository extension of the protocol, as Triton and MLServer have it: index, load, unload."""

from __future__ import annotations

from typing import Any

import msgspec

from primum.errors import InputError
from primum.serving.control import load, unload
from primum.serving.dataplane import DataPlane
from primum.serving.http.routing import Call, Route
from primum.serving.security.access import Scope

_MODEL = "/v2/repository/models/*"


class _Index(msgspec.Struct):
    ready: bool = False
    """Only models that answer."""


class _Change(msgspec.Struct):
    parameters: dict[str, Any] = {}


class RepositoryPaths:
    """Answers the extension's paths."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def routes(self) -> tuple[Route, ...]:
        """Its rows of the table."""
        return (
            Route("POST", "/v2/repository/index", Scope.ADMIN, "index", self._index),
            Route("POST", f"{_MODEL}/load", Scope.ADMIN, "load", self._load, True),
            Route("POST", f"{_MODEL}/unload", Scope.ADMIN, "unload", self._unload, True),
        )

    async def _index(self, call: Call) -> Any:
        asked = await call.read_as(_Index)
        listed = self._plane.repository.index()
        return [one._asdict() for one in listed if one.state == "READY" or not asked.ready]

    async def _load(self, call: Call) -> Any:
        asked = await call.read_as(_Change)
        if asked.parameters:
            raise InputError("load takes no parameters here: what is served is the operator's choice")
        await load(self._plane, call.names[0], call.note)
        return {}

    async def _unload(self, call: Call) -> Any:
        await call.read_as(_Change)
        await unload(self._plane, call.names[0], call.note)
        return {}
