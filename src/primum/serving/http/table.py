"""Every path beside inference."""

from __future__ import annotations

from primum.serving.dataplane import DataPlane
from primum.serving.http.batches import BatchPredict
from primum.serving.http.optimization import OptimizationPaths
from primum.serving.http.repository import RepositoryPaths
from primum.serving.http.routing import Route
from primum.serving.http.uploads import Uploads
from primum.serving.studies.jobs import Jobs


def routes_of(plane: DataPlane, jobs: Jobs | None = None) -> tuple[Route, ...]:
    """The table."""
    faces = (Uploads(plane), BatchPredict(plane), OptimizationPaths(plane, jobs), RepositoryPaths(plane))
    return tuple(route for face in faces for route in face.routes())
