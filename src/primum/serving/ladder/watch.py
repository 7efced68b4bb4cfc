"""Looks at a model's load and memory ten times a second, and does what its ladder says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from math import exp
from typing import TYPE_CHECKING

from primum.batching import DynamicBatcher
from primum.hardware.memory import MemoryUse, memory_use
from primum.serving.ladder.ladder import Move, Release, Reopen, Seen
from primum.serving.ladder.line import Line, Step
from primum.serving.ladder.rung import Rung

if TYPE_CHECKING:
    import torch

_EVERY_S = 0.1
_MEMORY_EVERY = 10
"""Looks between two readings of memory."""
_LOAD_OVER_S = 2.0
"""Load is smoothed over this time."""
_BYTES_LOADED = 2.0
"""Memory that a network takes, of the bytes of its files: its weights, and what a runtime makes of them."""
_LOG = logging.getLogger("primum.serving")


class Watch:
    """Of one line, in one event loop."""

    def __init__(
        self,
        name: str,
        line: Line,
        batcher: DynamicBatcher,
        warm: Callable[[Rung], Awaitable[None]],
        factory: Callable[[], torch.nn.Module] | None = None,
        memory: Callable[[], MemoryUse] = memory_use,
    ) -> None:
        """`warm` measures a rung that was loaded again, before it takes requests."""
        self.line, self._name, self._batcher, self._warm, self._factory = line, name, batcher, warm, factory
        self.read_memory = memory
        self.cases = 0
        """Asked so far, whether answered or not: who is asked counts them."""
        self.load = 0.0
        """Cases asked a second."""
        self.memory: MemoryUse | None = None
        """As last read."""
        self._looks = self._counted = self._turned_away = 0
        self._at: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, where there are rungs to choose among."""
        if len(self.line.steps) > 1:
            self._turned_away = self._batcher.backlog().turned_away
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Look no longer; a rung that is being loaded is waited for."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._loading is not None:
            await self._loading

    def look(self, now: float) -> None:
        """One look, at `now` of the loop's clock."""
        act = self.line.ladder.look(self._see(now), now)
        if isinstance(act, Move):
            self._moved(act)
        elif isinstance(act, Release):
            for place in act.rungs:
                self.line.release(place)
            _LOG.warning("model %r: rungs %s are unloaded, memory is short", self._name, act.rungs)
        elif isinstance(act, Reopen):
            self._loading = asyncio.create_task(self._load(act.rung))

    async def _run(self) -> None:
        loop, failure = asyncio.get_running_loop(), ""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                self.look(loop.time())
                failure = ""
            # Requests go on being answered where they are; the next look may succeed.
            except Exception as error:  # noqa: BLE001
                if failure != (failure := f"{type(error).__name__}: {error}"):
                    _LOG.error("model %r: its load could not be looked at: %s", self._name, failure)

    def _see(self, now: float) -> Seen:
        backlog = self._batcher.backlog()
        turned_away, self._turned_away = backlog.turned_away - self._turned_away, backlog.turned_away
        if self._at is not None and now > self._at:
            latest = (self.cases - self._counted) / (now - self._at)
            self.load += (1 - exp((self._at - now) / _LOAD_OVER_S)) * (latest - self.load)
        self._at, self._counted = now, self.cases
        if self._looks % _MEMORY_EVERY == 0:
            self.memory = self.read_memory()
        self._looks += 1
        steps = self.line.steps
        limit = self.memory.limit if self.memory is not None else 0
        return Seen(
            backlog_s=backlog.seconds,
            turned_away=turned_away,
            load=self.load,
            capacities=tuple(self._capacity(step) for step in steps),
            is_open=self.line.is_open,
            memory=None if self.memory is None else self.memory.share,
            sizes=tuple(_BYTES_LOADED * step.bytes / limit for step in steps) if limit else (),
        )

    def _capacity(self, step: Step) -> float:
        """Cases a second: of a guarded rung each takes the fast network, and a share of them the original too."""
        if step.is_open:
            rung = step.rung
            seconds = 0.0 if step.distrusted else 1 / self._batcher.capacity(rung.program)
            if rung.reference is not None and rung.manifest.guard is not None:
                share = 1.0 if step.distrusted else rung.manifest.guard.deferred
                seconds += share / self._batcher.capacity(rung.reference)
            step.capacity = 1 / seconds if seconds > 0 else float("inf")
        return step.capacity

    def _moved(self, move: Move) -> None:
        rungs = self.line.rungs
        _LOG.warning(
            "model %r: rung %d (%s) answers, no longer rung %d (%s): %s",
            self._name,
            move.target,
            rungs[move.target].version,
            move.origin,
            rungs[move.origin].version,
            move.why,
        )

    async def _load(self, place: int) -> None:
        """Load a rung again; a failure is told and tried again later."""
        line, loop = self.line, asyncio.get_running_loop()
        step = line.steps[place]
        loaded = False
        try:
            # Who is still being answered by it holds its networks: they are closed first.
            while step.is_loaded:
                await asyncio.sleep(_EVERY_S)
            rung = await asyncio.to_thread(line.load, place, self._factory)
            try:
                await self._warm(rung)
            except BaseException:
                line.close(rung)
                raise
            line.opened(place, rung)
            loaded = True
        # Whatever a runtime raises: the other rungs go on answering.
        except Exception as error:  # noqa: BLE001
            step.failure = f"{type(error).__name__}: {error}"
            _LOG.error("model %r: rung %d was not loaded again: %s", self._name, place, step.failure)
        finally:
            line.ladder.reopened(place, loaded, loop.time())
