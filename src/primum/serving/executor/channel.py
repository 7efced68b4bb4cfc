"""Between the server and its processes: rows in memory that both see, small headers and messages over sockets."""

from __future__ import annotations

import json
import mmap
import os
import socket
import struct
import tempfile
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

REQUEST = struct.Struct("<QQQQ")
"""Number of the call, key of the network, rows, bytes of the segment."""
REPLY = struct.Struct("<QQQQ")
"""Number of the call, Status, rows, columns; of a failure: Status, bytes of its text, 0."""
_LENGTH = struct.Struct("<I")
_NUMBER = struct.Struct("<Q")
_GRAIN = 1 << 20
_HEAD = 64
"""Bytes before the rows, which begin at a cache line."""
MOST_TEXT = 4096


class Status(IntEnum):
    """How a call ended in the process that ran it."""

    OK = 0
    FAILED = 1
    OUT_OF_MEMORY = 2


class Segment:
    """Memory without a name that two processes see, found by a descriptor: nothing is left when both are gone.

    First the number of the call that was taken last; then the rows of a call, and in their place those of its answers.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """A new one, or the other side's, by its inherited `descriptor`."""
        self.descriptor = _anonymous() if descriptor is None else descriptor
        self.size = 0
        self._map: mmap.mmap | None = None

    def reserve(self, size: int) -> None:
        """Make room for `size` bytes of rows. Raises MemoryError where the machine has no more."""
        size += _HEAD
        if size <= self.size:
            return
        size = -(-size // _GRAIN) * _GRAIN
        try:
            # Pages that exist: a write into one that cannot be had would end this process (SIGBUS).
            getattr(os, "posix_fallocate", _stretch)(self.descriptor, 0, size)
            self.follow(size)
        except OSError as error:
            raise MemoryError("no memory for the rows of a call") from error

    def follow(self, size: int) -> None:
        """Map it in the `size` that the other side gave it."""
        if size != self.size:
            # Arrays that still lie in the old map keep it until they go.
            self._map, self.size = mmap.mmap(self.descriptor, size), size

    @property
    def taken(self) -> int:
        """Number of the latest call that the other side began to answer."""
        assert self._map is not None
        return int(_NUMBER.unpack_from(self._map)[0])

    @taken.setter
    def taken(self, number: int) -> None:
        assert self._map is not None
        _NUMBER.pack_into(self._map, 0, number)

    def array(self, dtype: type[np.generic], *shape: int) -> NDArray[Any]:
        """The rows as an array. Raises TypeError where there is less room."""
        assert self._map is not None
        return np.ndarray(shape, dtype, self._map, _HEAD)

    def put_text(self, text: str) -> int:
        """Write a text in place of rows; its bytes."""
        assert self._map is not None
        data = text.encode()[:MOST_TEXT]
        self._map[_HEAD : _HEAD + len(data)] = data
        return len(data)

    def text(self, length: int) -> str:
        """The text of `length` bytes in place of rows."""
        assert self._map is not None
        return self._map[_HEAD : _HEAD + min(length, MOST_TEXT)].decode(errors="replace")

    def close(self) -> None:
        """Give it up."""
        self._map = None
        os.close(self.descriptor)


def _anonymous() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("primum-rows")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _stretch(descriptor: int, start: int, size: int) -> None:
    """In place of posix_fallocate, which macOS does not have."""
    os.ftruncate(descriptor, start + size)


def send_message(connection: socket.socket, message: dict[str, Any]) -> None:
    """One JSON object. Raises OSError where the other side is gone."""
    data = json.dumps(message).encode()
    connection.sendall(_LENGTH.pack(len(data)) + data)


def receive_message(connection: socket.socket) -> dict[str, Any] | None:
    """The next JSON object; None where the other side is gone. Raises TimeoutError as the socket says."""
    head = exactly(connection, _LENGTH.size)
    data = None if head is None else exactly(connection, *_LENGTH.unpack(head))
    if data is None:
        return None
    message: dict[str, Any] = json.loads(data)
    return message


def exactly(connection: socket.socket, size: int) -> bytes | None:
    """`size` bytes; None where the stream ends before."""
    data = b""
    while len(data) < size:
        try:
            chunk = connection.recv(size - len(data))
        except ConnectionError:
            return None
        if not chunk:
            return None
        data += chunk
    return data
