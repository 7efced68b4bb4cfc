"""A place for a process: a thread that keeps it filled, with the networks that are wanted open."""

from __future__ import annotations

import os
import select
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from primum.errors import ExecutorDied, PrimumError
from primum.serving.executor.process import Opened, Process
from primum.serving.executor.program import Restart

_FIRST_PAUSE_S = 0.1
_MOST_PAUSE_S = 30.0

Orders = Mapping[int, dict[str, Any]]
"""Networks that are wanted, by key: what a process is told to open."""


class Slot:
    """Starts a process, opens what is wanted, closes what no longer is, and starts another when it dies.

    What fails is tried again after a pause that doubles, or when something else is wanted.
    """

    def __init__(
        self,
        start: Callable[[], Process],
        wanted: Callable[[], Orders],
        changed: Callable[[], None],
        told: Callable[[Callable[[], None]], None],
    ) -> None:
        """`changed` is called in this slot's thread after every change of what can be read here; `told` runs a call
        where calls of the process run.
        """
        self._start, self._wanted, self._changed, self._told = start, wanted, changed, told
        self.process: Process | None = None
        self.opened: dict[int, Opened] = {}
        self.failed: dict[int, PrimumError] = {}
        """Networks that could not be opened, and why."""
        self.broken: PrimumError | None = None
        """Why the latest process was of no use; None where it was."""
        self.restarts: Counter[Restart] = Counter()
        self._failures = 0
        self._stopping = False
        self._awake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._keep, name="primum-executor", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Its process can run every network that is wanted."""
        process = self.process
        return process is not None and process.usable and self._wanted().keys() <= self.opened.keys()

    def wake(self) -> None:
        """Something else is wanted."""
        os.write(self._waker, b"\0")

    def stop(self) -> None:
        """End the process and the thread; where calls of the process run."""
        self._stopping = True
        if (process := self.process) is not None:
            process.kill()
        self.wake()
        self._thread.join()
        if (process := self.process) is not None:
            process.ended(process.reap()[1])
        os.close(self._awake)
        os.close(self._waker)

    def _keep(self) -> None:
        while not self._stopping:
            try:
                process = self.process = self._start()
            except OSError as error:
                self._break(PrimumError(f"no process can be started ({error.strerror})"))
                self._pause()
                continue
            if self._stopping:
                return
            self._tend(process)
            if not self._stopping:
                self._replace(process)

    def _tend(self, process: Process) -> None:
        """Have the process hold what is wanted until it dies."""
        try:
            process.greet()
            while not self._stopping:
                self._adjust(process)
                if not process.wait(self._awake, self._patience()):
                    return
                self._calm()
        except PrimumError as error:
            self._break(error)

    def _adjust(self, process: Process) -> None:
        """Open and close until the process has what is wanted. Raises ExecutorDied."""
        wanted = self._wanted()
        for key in self.opened.keys() - wanted.keys():
            process.close(key)
        self.opened = {key: opened for key, opened in self.opened.items() if key in wanted}
        self.failed = {key: error for key, error in self.failed.items() if key in wanted}
        for key in sorted(wanted.keys() - self.opened.keys()):
            try:
                opened = process.open(wanted[key])
            except ExecutorDied:
                raise
            except PrimumError as error:
                self._fail([key], error)
            else:
                self.opened = {**self.opened, key: opened}
                self.failed = {other: error for other, error in self.failed.items() if other != key}
                self._changed()
        self.broken = None
        if not self.failed:
            self._failures = 0

    def _break(self, error: PrimumError) -> None:
        self.broken = error
        self._fail(self._wanted().keys() - self.opened.keys(), error)

    def _fail(self, keys: Iterable[int], error: PrimumError) -> None:
        self.failed = {**self.failed, **dict.fromkeys(keys, error)}
        self._changed()

    def _replace(self, process: Process) -> None:
        """The process has died, or is of no use."""
        why, death = process.reap()
        self.process, self.opened = None, {}
        self.restarts[why] += 1
        self._told(lambda: process.ended(death))
        self._changed()
        if self.broken is not None:
            self._pause()

    def _patience(self) -> float | None:
        """Until what failed is tried again; None where nothing did."""
        if not self.failed and self.broken is None:
            return None
        self._failures += 1
        return float(min(_FIRST_PAUSE_S * 2 ** (self._failures - 1), _MOST_PAUSE_S))

    def _pause(self) -> None:
        select.select([self._awake], [], [], self._patience())
        self._calm()

    def _calm(self) -> None:
        """Forget that it was woken."""
        while select.select([self._awake], [], [], 0)[0]:
            with suppress(BlockingIOError):
                os.read(self._awake, 4096)
