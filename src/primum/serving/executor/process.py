"""One process that runs networks, seen from the server."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum import errors
from primum.artifact.predictor import Proven
from primum.errors import ExecutorDied, PrimumError
from primum.serving.executor.channel import (
    REPLY,
    REQUEST,
    Segment,
    Status,
    receive_message,
    send_message,
)
from primum.serving.executor.program import Restart

_OPEN_TIMEOUT_S = 600.0
_COPY_ASIDE = 1 << 20
"""Bytes from which rows are copied in a thread: the event loop would stand still for a millisecond and more."""


@dataclass(frozen=True)
class Opened:
    """What a process says of a network that it has opened."""

    proven: Proven
    alone_s: float
    """Seconds of a call with one case, without the way to the process: the fastest tenth of a few."""


class NotTaken(Exception):
    """The process had died before it took the call: nothing of it was run."""


class Process:
    """Started at once. `open`, `close`, `wait` and `reap` belong to one thread, `call`, `ended` to the event loop."""

    def __init__(self, opener: str, memory_bytes: int) -> None:
        """Raises OSError where no process can be started; it ends with the thread that starts it."""
        self.busy = False
        """A call runs."""
        self._why: Restart | None = None
        self._kills = _out_of_memory_kills()
        self._death: ExecutorDied | None = None
        self._number = 0
        self._reply: asyncio.Future[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """Which watches for replies, from the first call on."""
        self._control, control = socket.socketpair()
        self._calls, calls = socket.socketpair()
        self._segment = Segment()
        self._control.settimeout(_OPEN_TIMEOUT_S)
        self._calls.setblocking(False)
        theirs = (control.fileno(), calls.fileno(), self._segment.descriptor)
        try:
            with control, calls:
                self._process = subprocess.Popen(
                    # -P: the current folder is no place to import from.
                    [sys.executable, "-P", "-m", "primum.serving.executor.child"]
                    + [str(number) for number in (*theirs, os.getpid(), memory_bytes)]
                    + [opener],
                    pass_fds=theirs,
                    # What runtimes print may quote a patient's data.
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(p or str(Path.cwd()) for p in sys.path)},
                    start_new_session=True,
                )
        except BaseException:
            self.dispose()
            raise

    @property
    def usable(self) -> bool:
        """It has not died and was not ended."""
        return self._why is None and self._death is None

    def greet(self) -> None:
        """Wait until it is ready to open networks. Raises PrimumError where it never will be."""
        self._say(None)

    def open(self, order: dict[str, Any]) -> Opened:
        """Open a network there. Raises what opening it raised, ExecutorDied where the process died of it."""
        said = self._say({"do": "open", **order})
        proven = Proven(**{**said["proven"], "notes": tuple(said["proven"]["notes"])})
        return Opened(proven, said["alone_s"])

    def close(self, key: int) -> None:
        """Release a network there."""
        # A process that is gone has released everything.
        with suppress(OSError):
            send_message(self._control, {"do": "close", "key": key})

    def wait(self, wake: int, seconds: float | None) -> bool:
        """Wait until `wake` is readable or the time is over; False where the process died meanwhile."""
        control = self._control.fileno()
        ready, _, _ = select.select([control, wake], [], [], seconds)
        return control not in ready

    def kill(self, why: Restart | None = None) -> None:
        """End it."""
        self._why = self._why or why
        self._process.kill()

    def reap(self) -> tuple[Restart, ExecutorDied]:
        """End it where it has not ended; why it did, and the error for who waits for it."""
        self._process.kill()
        code = self._process.wait()
        why = self._why
        if why is None:
            starved = code == -signal.SIGKILL and _out_of_memory_kills() > self._kills
            why = Restart.OUT_OF_MEMORY if starved else Restart.DIED
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return why, ExecutorDied(how, why is Restart.OUT_OF_MEMORY)

    def ended(self, death: ExecutorDied) -> None:
        """It has died: tell who waits for it, and give up what it had."""
        self._death = death
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(death)
        if not self.busy:
            self.dispose()

    def dispose(self) -> None:
        """Give up the sockets and the memory; idempotent."""
        if self._control.fileno() >= 0:
            self._watch(None)
            self._control.close()
            self._calls.close()
            self._segment.close()

    async def call(self, key: int, parts: Sequence[NDArray[np.float32]], width: int) -> NDArray[np.float64]:
        """Rows of answers (N, width) of network `key` for rows (N, ...) in parts; the caller has set `busy`.

        Raises ExecutorDied, NotTaken, MemoryError where memory ran out there, PrimumError where the model failed. Where
        the caller is cancelled the process is ended: nobody else may get that answer.
        """
        try:
            return await self._exchange(key, parts, width)
        except ExecutorDied as error:
            if self._segment.taken != self._number:
                raise NotTaken from error
            raise
        except asyncio.CancelledError:
            self.kill(Restart.HUNG)
            raise
        finally:
            self._reply = None
            if self._death is not None:
                self.dispose()

    async def _exchange(self, key: int, parts: Sequence[NDArray[np.float32]], width: int) -> NDArray[np.float64]:
        self._number += 1
        count = sum(map(len, parts))
        size = sum(part.nbytes for part in parts)
        self._segment.reserve(max(size, count * width * 8, 1))
        rows = self._segment.array(np.float32, count, *parts[0].shape[1:])
        if size < _COPY_ASIDE:
            _copy(parts, rows)
        else:
            await asyncio.to_thread(_copy, parts, rows)
        if self._death is not None:
            raise self._death
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._watch(loop)
        self._reply = loop.create_future()
        # One that is dying: its end is about to be told.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._calls.send(REQUEST.pack(self._number, key, count, self._segment.size))
        return self._answers(await self._reply)

    def _watch(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Have `loop` watch for replies, in place of the one that does."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._calls)
        self._loop = loop
        if loop is not None:
            loop.add_reader(self._calls, self._readable)

    def _readable(self) -> None:
        try:
            data = self._calls.recv(REPLY.size)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if len(data) < REPLY.size:
            # It closed its end: it is dying, or no longer what was started. Its end is told by who waits for it.
            self._watch(None)
            self._process.kill()
        elif self._reply is not None and not self._reply.done():
            self._reply.set_result(data)

    def _answers(self, reply: bytes) -> NDArray[np.float64]:
        number, status, rows, columns = REPLY.unpack(reply)
        if number != self._number:
            self.kill()
            raise PrimumError("an executor answered another call than it was asked")
        if status == Status.OK:
            answers: NDArray[np.float64] = self._segment.array(np.float64, rows, columns).copy()
            return answers
        told = self._segment.text(rows)
        raise MemoryError(told) if status == Status.OUT_OF_MEMORY else PrimumError(told)

    def _say(self, message: dict[str, Any] | None) -> dict[str, Any]:
        """Send a message, if any, and wait for what it says. Raises PrimumError where that is an error."""
        try:
            if message is not None:
                send_message(self._control, message)
            said = receive_message(self._control)
        except TimeoutError as error:
            self.kill(Restart.HUNG)
            raise PrimumError(f"a process did not open a model within {_OPEN_TIMEOUT_S:.0f} s") from error
        except OSError:
            said = None
        if said is None:
            raise self.reap()[1]
        if "error" in said:
            kind = getattr(errors, said["error"], PrimumError)
            # Those that are raised with a text alone; others are told as what they are at least.
            raise kind(said["text"]) if kind in _BY_TEXT else PrimumError(said["text"])
        return said


_BY_TEXT = (errors.InputError, errors.UnsafeInput, errors.IntegrityError, errors.StorageError)


def _copy(parts: Sequence[NDArray[np.float32]], rows: NDArray[np.float32]) -> None:
    if len(parts) == 1:
        rows[...] = parts[0]
        return
    start = 0
    for part in parts:
        rows[start : start + len(part)] = part
        start += len(part)


def _out_of_memory_kills() -> int:
    """Processes that the machine has ended so far because memory had run out; 0 where it does not say."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
