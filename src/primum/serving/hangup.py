"""The signal SIGHUP: models, keys and certificates are read anew from their files, one after the other.

What cannot be read anew stays as it was, which the log and the audit log say; what comes after it is read all the same.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from primum.errors import PrimumError

if TYPE_CHECKING:
    from primum.serving.dataplane import DataPlane

_LOG = logging.getLogger("primum.serving")


class Reread(NamedTuple):
    """Of files that are no artifacts. `read` blocks, and raises where what was read before stays in force."""

    what: str
    read: Callable[[], None]


class Held:
    """Takes the signal while nobody can act on it: by default it would end the process."""

    def __init__(self) -> None:
        self.heard = False

    def __call__(self, *_: object) -> None:
        """It came."""
        self.heard = True


def hold() -> None:
    """From now on the signal is remembered, until `Hangup` listens."""
    signal.signal(signal.SIGHUP, Held())


class Hangup:
    """Reads everything anew on SIGHUP, as long as the server lives."""

    def __init__(self, plane: DataPlane, rereads: Sequence[Reread] = ()) -> None:
        self._plane, self._rereads = plane, rereads
        self._running: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()

    async def start(self) -> None:
        """Listen, also to what was held."""
        held = signal.getsignal(signal.SIGHUP)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._heard)
        if isinstance(held, Held) and held.heard:
            self._heard()

    async def stop(self) -> None:
        """Listen no longer, and end what was begun."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        hold()
        await asyncio.gather(*self._running)

    def _heard(self) -> None:
        task = asyncio.ensure_future(self._read())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _read(self) -> None:
        # Imported here: who holds the signal during the start has not loaded the rest yet.
        from primum.serving.dataplane import Note

        async with self._one_at_a_time:
            # Who may ask comes first: reading models takes long.
            for one in self._rereads:
                self._plane.note("SIGHUP", f"read {one.what}", Note(), await _status(one), by_caller=False)
            for name, ended in (await self._plane.repository.reload()).items():
                model = self._plane.repository.get(name)
                note = Note(name, "" if model is None else model.rung.digest)
                failed = ended not in ("changed", "unchanged")
                self._plane.note("SIGHUP", "load", note, 500 if failed else 200, by_caller=False)


async def _status(one: Reread) -> int:
    try:
        await asyncio.to_thread(one.read)
    # Whatever it is: the others are read all the same.
    except Exception as error:  # noqa: BLE001
        told = str(error) if isinstance(error, PrimumError) else type(error).__name__
        _LOG.error("%s were not read anew, those of before stay in force: %s", one.what, told)
        return 500
    _LOG.warning("%s were read anew", one.what)
    return 200
