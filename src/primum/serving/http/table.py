"""Every path beside inference."""

from __future__ import annotations

from primum.serving.dataplane import DataPlane
from primum.serving.http.batches import BatchPredict
from primum.serving.http.repository import RepositoryPaths
from primum.serving.http.routing import Route
from primum.serving.http.uploads import Uploads


def routes_of(plane: DataPlane) -> tuple[Route, ...]:
    """The table."""
    return (*Uploads(plane).routes(), *BatchPredict(plane).routes(), *RepositoryPaths(plane).routes())
