"""Models loaded and unloaded while the server serves, for every protocol face and for the signal SIGHUP."""

from __future__ import annotations

import asyncio
import signal

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


class Hangup:
    """Reads all models anew on SIGHUP, as long as the server lives."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._heard)

    async def stop(self) -> None:
        """Listen no longer, and end what was begun."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        await asyncio.gather(*self._running)

    def _heard(self) -> None:
        task = asyncio.ensure_future(self._reload())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _reload(self) -> None:
        for name, ended in (await self._plane.repository.reload()).items():
            model = self._plane.repository.get(name)
            note = Note(name, "" if model is None else model.rung.digest)
            failed = ended not in ("changed", "unchanged")
            self._plane.note("SIGHUP", "load", note, 500 if failed else 200)


def _check(plane: DataPlane, name: str, note: Note) -> None:
    if not plane.repository.started:
        raise Unavailable("the server is starting or ending")
    known = [one.name for one in plane.repository.index()]
    if name not in known:
        raise NotFound(f"no model of that name; there are: {', '.join(known)}")
    note.model = name
