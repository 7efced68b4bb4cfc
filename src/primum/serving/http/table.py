"""Every path beside inference."""

from __future__ import annotations

from primum.serving.dataplane import DataPlane
from primum.serving.http.repository import RepositoryPaths
from primum.serving.http.routing import Route


def routes_of(plane: DataPlane) -> tuple[Route, ...]:
    """The table."""
    return RepositoryPaths(plane).routes()
