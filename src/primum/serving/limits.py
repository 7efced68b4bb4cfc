"""What one server takes: for how long a request may arrive, how many clients, how many bytes of requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from primum.serving.dataplane import Unavailable

AT_ONCE = 16
"""So many of the largest requests are held, or more that are smaller."""


@dataclass(frozen=True)
class Limits:
    """`arrival_s`: between the first byte of a request, or of a connection, and the last byte. `most`: connections over
    HTTP, and calls at once over gRPC.
    """

    arrival_s: float = 30.0
    most: int = 4096


class Room:
    """For bytes of requests, over HTTP and gRPC together. `most_bytes`: of one request."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._held = 0

    def take(self, size: int) -> None:
        """So many more bytes are held. Raises Unavailable where others leave no room for them."""
        if self._held + size > AT_ONCE * self.most_bytes:
            raise Unavailable("the server holds as many bytes of requests as it may; ask again")
        self._held += size

    def give_back(self, size: int) -> None:
        """So many are not held any more."""
        self._held -= size

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """While a request of so many bytes is answered. Raises as `take`."""
        self.take(size)
        try:
            yield
        finally:
            self.give_back(size)
