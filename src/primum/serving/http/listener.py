"""uvicorn's server, which takes many connections in one turn of the event loop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

import uvicorn

from primum.errors import InputError

ACCEPTS = 16
"""Connections that one turn of the loop takes. libuv accepts one a turn for each descriptor that listens (since 1.45,
https://github.com/libuv/libuv/pull/3696): under load, when a turn takes milliseconds, new clients would wait for
seconds while those that are connected are served.
"""


class Listener(uvicorn.Server):  # type: ignore[misc]  # uvicorn has no types here
    """Listens by `accepts` descriptors of each socket."""

    def __init__(
        self, config: uvicorn.Config, accepts: int = ACCEPTS, listening: Callable[[], None] | None = None
    ) -> None:
        """`listening` is called once clients can connect."""
        super().__init__(config)
        self._accepts, self._listening = accepts, listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn, then listen by more descriptors of what it listens on. Raises InputError where `sockets` are
        bound, and another process listens there meanwhile.
        """
        await super().startup(sockets)
        loop, config = asyncio.get_running_loop(), self.config
        found = [one for server in self.servers for one in server.sockets]
        if None in found:  # uvloop raises nothing where the kernel refuses
            await self.lifespan.shutdown()
            raise InputError(f"cannot listen on port {config.port}: another process does")
        for listening in found:
            for _ in range(self._accepts - 1):
                again = socket.socket(fileno=os.dup(listening.fileno()))
                server = await loop.create_server(self._connected, sock=again, ssl=config.ssl, backlog=config.backlog)
                self.servers.append(server)
        if self._listening is not None:
            self._listening()

    def _connected(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol
