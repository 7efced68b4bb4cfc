"""One of several servers that share a port: which it is, and the leash by which it ends with its supervisor."""

from __future__ import annotations

import asyncio
import signal
import socket
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

READY = "ready"
"""What a worker tells its supervisor once its models are loaded and measured."""


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
    """Says when the worker is ready, and ends it when its supervisor is gone."""

    def __init__(self, leash: Connection) -> None:
        self._leash = leash

    async def start(self) -> None:
        """The models are ready."""
        self._leash.send(READY)
        asyncio.get_running_loop().add_reader(self._leash.fileno(), self._gone)

    async def stop(self) -> None:
        """The worker ends anyway."""
        asyncio.get_running_loop().remove_reader(self._leash.fileno())

    def _gone(self) -> None:
        # Nothing is ever sent this way: the other end was closed.
        asyncio.get_running_loop().remove_reader(self._leash.fileno())
        signal.raise_signal(signal.SIGTERM)
