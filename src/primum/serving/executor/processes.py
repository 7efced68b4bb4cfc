"""Networks in processes of their own: one that crashes, hangs or eats memory takes nothing with it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.artifact.manifest import artifact_digest
from primum.errors import InputError, PrimumError
from primum.serving.executor.answers import Answers
from primum.serving.executor.child import named
from primum.serving.executor.process import NotTaken, Process
from primum.serving.executor.program import Asked, ExecutorStats, Network, Program, Restart
from primum.serving.executor.slot import Orders, Slot

OPENER = "primum.serving.executor.in_process:opened"


class Processes:
    """An executor of `count` processes, each of which has every network open and runs one call at a time.

    A process that dies, or whose call is cancelled, is replaced; its replacement checks the artifacts' hashes again.
    While none is there calls wait. `open` blocks and may run in any thread but the event loop's once that runs;
    `run`, `close` and `stop` belong to the loop.
    """

    is_async = True

    def __init__(self, count: int, memory_limit_mb: float | None = None, opener: str = OPENER) -> None:
        """`memory_limit_mb`: megabytes (1e6 bytes) of private memory that each may hold, its libraries' included; a
        call that would take more ends as out of memory. `opener`: `module:function` that opens a Network there.
        Raises InputError where the limit cannot be set.
        """
        if memory_limit_mb is not None and sys.platform != "linux":
            raise InputError("a limit on the memory of an executor needs Linux: leave it out")
        limit = int((memory_limit_mb or 0) * 1e6)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._state = threading.Condition()
        self._wanted: Orders = {}
        self._widths: dict[int, int] = {}
        self._keys = 0
        self._stopped = False
        self._waiters: dict[asyncio.Future[Process], int] = {}
        """Who waits for a process, first come first, and for which network."""
        self._slots = [
            Slot(lambda: Process(opener, limit), lambda: self._wanted, self._changed, self._tell) for _ in range(count)
        ]

    def open(self, network: Network) -> Program:
        """As Executor, in every process. Raises ExecutorDied where a process died of it."""
        order = _order(network)
        with self._state:
            self._keys += 1
            key = self._keys
            self._widths[key] = Answers(network.manifest).width
            self._wanted = {**self._wanted, key: {"key": key, **order}}
        self._wake_slots()
        with self._state:
            self._state.wait_for(
                lambda: self._stopped or all(key in slot.opened or key in slot.failed for slot in self._slots)
            )
            failed = [slot.failed[key] for slot in self._slots if key in slot.failed]
            opened = [slot.opened[key] for slot in self._slots if key in slot.opened]
        if failed or not opened:
            self._forget(key)
            raise failed[0] if failed else PrimumError("the executors were stopped")
        return Program(key, opened[0].proven)

    @property
    def alone_s(self) -> float:
        """Seconds of a call with one case, without the way to a process: of the slowest open network, in the process
        that ran it fastest; 0 where none is open.
        """
        shortest: dict[int, float] = {}
        for key, opened in (pair for slot in self._slots for pair in slot.opened.items()):
            shortest[key] = min(opened.alone_s, shortest.get(key, inf))
        return max(shortest.values(), default=0.0)

    async def run(self, asked: Asked) -> NDArray[np.float64]:
        """As Executor. Raises ExecutorDied, MemoryError where memory ran out there, PrimumError where the model
        failed. Waits while no process is free; where it is cancelled the process that runs it is replaced.
        """
        self._bind(asyncio.get_running_loop())
        key = asked.program.key
        width = self._widths.get(key, 0)
        while True:
            process = await self._free(key)
            try:
                return await process.call(key, asked.parts, width)
            except NotTaken:
                continue
            finally:
                process.busy = False
                self._wake()

    def can_run(self, program: Program) -> bool:
        """As Executor."""
        usable = (slot for slot in self._slots if slot.process is not None and slot.process.usable)
        return any(program.key in slot.opened for slot in usable)

    def close(self, program: Program) -> None:
        """As Executor. Calls that wait for it end in PrimumError."""
        self._forget(program.key)
        self._tell(self._wake)

    def stop(self) -> None:
        """As Executor."""
        with self._state:
            if self._stopped:
                return
            self._stopped = True
            self._state.notify_all()
        for slot in self._slots:
            slot.stop()
        self._wake()

    def stats(self) -> ExecutorStats:
        """As Executor."""
        restarts: Counter[Restart] = Counter()
        for slot in self._slots:
            restarts.update(slot.restarts)
        faults = [error for slot in self._slots for error in (*slot.failed.values(), slot.broken) if error is not None]
        alive = sum(slot.ready for slot in self._slots)
        return ExecutorStats("process", len(self._slots), alive, dict(restarts), str(faults[0]) if faults else "")

    async def _free(self, key: int) -> Process:
        """A process that has the network open and nothing to do; it is busy from now on."""
        if (process := self._taken(key)) is not None:
            return process
        waiter: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = key
        try:
            return await waiter
        except asyncio.CancelledError:
            if not self._waiters.pop(waiter, 0) and not waiter.cancelled() and waiter.exception() is None:
                # It was given one in the moment in which it was cancelled.
                waiter.result().busy = False
                self._wake()
            raise

    def _taken(self, key: int) -> Process | None:
        """As `_free`; None where there is none now. Raises PrimumError where there never will be."""
        if self._stopped or key not in self._wanted:
            raise PrimumError("the model was closed")
        for slot in self._slots:
            process = slot.process
            if process is not None and key in slot.opened and process.usable and not process.busy:
                process.busy = True
                return process
        return None

    def _forget(self, key: int) -> None:
        with self._state:
            self._wanted = {other: order for other, order in self._wanted.items() if other != key}
            self._widths.pop(key, None)
        self._wake_slots()

    def _wake_slots(self) -> None:
        if not self._stopped:
            for slot in self._slots:
                slot.wake()

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            with self._state:
                self._loop = loop

    def _changed(self) -> None:
        with self._state:
            self._state.notify_all()
        self._tell(self._wake)

    def _tell(self, call: Callable[[], None]) -> None:
        """Run `call` where calls of the processes run."""
        with self._state:
            if self._loop is None:
                call()
                return
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            # The loop was closed: nobody is left who waits.
            call()

    def _wake(self) -> None:
        """Give processes that are free to who waits for them."""
        for waiter, key in list(self._waiters.items()):
            if waiter.done():
                continue
            try:
                process = self._taken(key)
            except PrimumError as error:
                waiter.set_exception(error)
            else:
                if process is None:
                    continue
                waiter.set_result(process)
            del self._waiters[waiter]


def _order(network: Network) -> dict[str, Any]:
    return {
        "folder": str(network.folder.absolute()),
        "digest": artifact_digest(network.folder),
        "reference": network.reference,
        "factory": None if network.factory is None else _name_of(network.factory),
    }


def _name_of(factory: Callable[..., Any]) -> str:
    """`module:name` of a factory; InputError where another process could not import it."""
    name = f"{factory.__module__}:{getattr(factory, '__qualname__', '')}"
    try:
        importable = factory.__module__ != "__main__" and named(name) is factory
    except (ImportError, AttributeError):
        importable = False
    if not importable:
        raise InputError(
            "the factory of this model cannot be imported by name, so that no other process can call it: make it a "
            "function of a module, or serve with isolation 'never'"
        )
    return name
