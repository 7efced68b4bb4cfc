"""Models loaded and unloaded while the server serves, for every protocol face."""

from __future__ import annotations

from primum.errors import InputError
from primum.serving.dataplane import DataPlane, Note, NotFound, Unavailable


async def load(plane: DataPlane, name: str, note: Note) -> bool:
    """Read a model's artifacts anew, or open one that was unloaded; False where nothing changed.

    Raises NotFound for a name that never was, Unavailable before the server is ready or when it ends, else as
    `ServedModel.reload`: what answered goes on answering.
    """
    _check(plane, name, note)
    changed = await plane.repository.load(name)
    model = plane.repository.get(name)
    note.sha256 = "" if model is None else model.rung.digest
    return changed


async def unload(plane: DataPlane, name: str, note: Note) -> None:
    """Release a model once what is here is answered. Raises NotFound for a name that never was, and Unavailable."""
    _check(plane, name, note)
    await plane.repository.unload(name)


def _check(plane: DataPlane, name: str, note: Note) -> None:
    if plane.worker is not None:
        raise InputError(
            f"{plane.worker.of} workers serve this model and only one of them heard this: SIGHUP has all read it anew"
        )
    if not plane.repository.started:
        raise Unavailable("the server is starting or ending")
    known = [one.name for one in plane.repository.index()]
    if name not in known:
        raise NotFound(f"no model of that name; there are: {', '.join(known)}")
    note.model = name
