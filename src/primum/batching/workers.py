"""Threads that run model calls, one at a time each."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread


class Worker:
    """A daemon thread with a queue of calls. A hung one cannot be killed: it is left behind, and ends if it returns.

    Threads of concurrent.futures would keep the process from exiting while one hangs.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        Thread(target=self._run, name=name, daemon=True).start()

    def run(self, call: Callable[[], None]) -> None:
        """Run `call`, which must not raise, after those before it."""
        self._calls.put(call)

    def close(self) -> None:
        """End the thread after the calls that it has."""
        self._calls.put(None)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
