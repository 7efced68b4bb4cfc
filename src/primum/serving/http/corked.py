"""The head of an answer goes with what follows it: uvicorn writes them apart, and each would be a call and a packet."""

from __future__ import annotations

from asyncio import Transport

_HEAD, _INTERIM = b"HTTP/1.1 ", b"HTTP/1.1 1"


class Corked:
    """A connection's transport, as far as an answer in uvicorn uses it."""

    __slots__ = ("_held", "_transport")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._held = b""

    def write(self, data: bytes) -> None:
        """Write what was held, and this; or hold this, where it is an answer's head (no `100 Continue`)."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.writelines((held, data))
        elif data.startswith(_HEAD) and not data.startswith(_INTERIM):
            self._held = data
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Write what is held: nothing follows it."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def close(self) -> None:
        """Write what is held, and close."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the transport is."""
        return self._transport.is_closing()
