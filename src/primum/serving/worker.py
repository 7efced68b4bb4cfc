"""One of several servers that share a port: which it is, and the leash by which it ends with its supervisor."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

READY = "ready"
"""What a worker tells its supervisor once its models are loaded and measured, and it listens."""


@dataclass(frozen=True)
class Worker:
    """What the supervisor gives a worker."""

    number: int
    """From 1."""
    of: int
    restarts: int = 0
    """How often a worker of this number was started again."""
    sockets: tuple[socket.socket, ...] = field(default=(), repr=False)
    """Bound, shared by all; each worker listens on them."""
    leash: Connection | None = field(default=None, repr=False)
    folder: Path = Path()
    """Where workers find one another; theirs alone."""

    def own(self, path: Path) -> Path:
        """The file of this worker, where `path` is named for all of them: audit.jsonl is audit-1.jsonl."""
        return path.with_name(f"{path.stem}-{self.number}{path.suffix}")


class Leash:
    """Ends the worker when its supervisor is gone, in a thread: a call that hangs must not keep the port for ever."""

    def __init__(self, worker: Worker, patience_s: float) -> None:
        """`patience_s`: for so long a worker may take to end."""
        self._worker, self._patience_s = worker, patience_s
        self._orphaned = False

    def listening(self) -> None:
        """The worker can be asked."""
        if self._worker.leash is not None:
            with contextlib.suppress(OSError):
                self._worker.leash.send(READY)

    async def start(self) -> None:
        """From now on the supervisor is watched."""
        threading.Thread(target=self._watch, daemon=True).start()

    async def stop(self) -> None:
        """A supervisor that was killed leaves their folder to the last worker."""
        if self._orphaned:
            with contextlib.suppress(OSError):
                self._worker.folder.rmdir()

    def _watch(self) -> None:
        if self._worker.leash is None:
            return
        # Nothing is ever sent this way: it ends when the other end is closed.
        with contextlib.suppress(EOFError, OSError):
            self._worker.leash.recv()
        self._orphaned = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(self._patience_s)
        os._exit(1)
