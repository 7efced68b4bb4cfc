"""The thread driver of a batcher: workers that fetch batches, and a watch over deadlines and hung calls."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from math import inf
from threading import Condition, Lock, Thread
from time import monotonic
from typing import Any

from primum.batching.answer import deadline, exception_of
from primum.batching.core import Batcher
from primum.batching.model_call import ModelCall, Prepared
from primum.batching.outcome import OutcomeKind, Reason
from primum.batching.priority import Priority
from primum.batching.profiling import MemoryProbe
from primum.batching.recovery import failure_of
from primum.batching.release import Failure
from primum.batching.request import Batch, Item
from primum.batching.settings import Settings
from primum.batching.stats import BatcherStats
from primum.config.batching import BatchConfig
from primum.errors import ExecutorHung


@dataclass(eq=False)
class _Executor:
    """What a worker thread is doing."""

    batch: Batch | None = None
    given_up: bool = False


class ThreadDispatcher:
    """Drives a batcher with one worker thread for each executor. `told` is called with each item that has ended."""

    def __init__(
        self,
        call: ModelCall,
        config: BatchConfig,
        told: Callable[[Item], None],
        memory_probe: MemoryProbe | None = None,
    ) -> None:
        self.config = config.in_use()
        self.core = Batcher(Settings.of(config))
        self.lock = Lock()
        """Held around everything that touches the core."""
        self.started = False
        self._call, self._told, self._probe = call, told, memory_probe
        self._work, self._watch, self._over = (Condition(self.lock) for _ in range(3))
        self._watch_at = inf
        self._executors: list[_Executor] = []
        self._leaked = 0

    def start(self) -> None:
        """Start the threads."""
        with self.lock:
            self.started = True
            for _ in range(self.config.executors):
                self._add_executor()
        Thread(target=self._keep_watch, name="primum-batching-watch", daemon=True).start()

    def stop(self, drain: bool, timeout: float | None) -> None:
        """Refuse new requests, answer or turn away those that are here, and end the threads."""
        with self.lock:
            if drain and self.started:
                self.core.drain()
            else:
                self.core.abandon(monotonic())
            self._deliver()
            self._work.notify_all()
            self._remind(-inf)
            if not self._over.wait_for(lambda: self.core.idle, timeout):
                raise TimeoutError(f"the processor was not empty after {timeout} s")

    def submit(
        self,
        id: Hashable,
        prepared: Prepared,
        priority: Priority,
        timeout_s: float | None,
        invalid: Exception | None,
        known: Callable[[Item], None],
    ) -> None:
        """A new request; `known` is called with its item before it can end. The caller holds the lock."""
        now = monotonic()
        item = Item(
            id,
            prepared.payload,
            bucket=prepared.bucket,
            cost=prepared.cost,
            priority=priority,
            deadline=deadline(now, timeout_s, self.config.request_timeout_ms),
            ticket=Future(),
        )
        known(item)
        if invalid is not None:
            self.core.refuse(item, invalid, now)
        else:
            self.core.submit(item, now)
        self._deliver()
        self._work.notify()
        if item.deadline < inf:
            self._remind(-inf)

    def cancel(self, item: Item) -> bool:
        """End a request; False where it has ended. The caller holds the lock."""
        cancelled = self.core.cancel(item, monotonic())
        self._deliver()
        return cancelled

    def stats(self) -> BatcherStats:
        """A snapshot, with the executors that were given up and have not come back. The caller holds the lock."""
        return replace(self.core.stats(), leaked_executors=self._leaked)

    def _add_executor(self) -> None:
        executor = _Executor()
        self._executors.append(executor)
        Thread(target=self._run, args=(executor,), name="primum-batching", daemon=True).start()

    def _run(self, executor: _Executor) -> None:
        while (batch := self._next(executor)) is not None:
            outputs, error, taken = None, None, None
            try:
                outputs = self._call.share(batch.items, self._call.call(self._call.gather(batch.items)))
                taken = self._probe() if self._probe is not None else None
            # The model is the user's own code: whatever it raises ends these requests, not the thread.
            except BaseException as caught:  # noqa: BLE001
                error = caught
            with self.lock:
                if executor.given_up:
                    self._leaked -= 1
                    return
                executor.batch = None
                self._ended(batch, outputs, error, taken)

    def _next(self, executor: _Executor) -> Batch | None:
        """Wait for a batch; None once there will be none."""
        with self.lock:
            while True:
                now = monotonic()
                batch = self.core.next_batch(now)
                self._deliver()
                if batch is not None:
                    executor.batch = batch
                    self._remind(now + self.config.executor_timeout_s)
                    if self.core.waiting:
                        self._work.notify()
                    return batch
                if self.core.draining and self.core.idle:
                    return None
                wake = self.core.next_wakeup(now)
                self._work.wait(None if wake is None else max(0.0, wake - now))

    def _ended(self, batch: Batch, outputs: Any, error: BaseException | None, taken: float | None) -> None:
        now = monotonic()
        if error is not None:
            self.core.fail(batch, error, now, failure_of(error))
        else:
            if taken is not None:
                self.core.plan(batch.bucket).took_memory(batch.size, taken)
            self.core.complete(batch, outputs, now)
        self._deliver()

    def _keep_watch(self) -> None:
        """Expire requests and give up hung executors while the workers are busy."""
        with self.lock:
            while not (self.core.draining and self.core.idle):
                now = monotonic()
                self._give_up_hung(now)
                self.core.expire(now)
                self._deliver()
                starts = [e.batch.started for e in self._executors if e.batch is not None]
                hang = min(starts, default=inf) + self.config.executor_timeout_s
                wake = self.core.next_wakeup(now)
                self._watch_at = min(hang, inf if wake is None else wake)
                self._watch.wait(None if self._watch_at == inf else max(0.0, self._watch_at - now))

    def _give_up_hung(self, now: float) -> None:
        timeout = self.config.executor_timeout_s
        for executor in list(self._executors):
            if executor.batch is not None and now - executor.batch.started >= timeout:
                executor.given_up = True
                self._executors.remove(executor)
                self._leaked += 1
                self.core.fail(executor.batch, ExecutorHung(timeout), now, Failure.HUNG)
                self._add_executor()

    def _remind(self, at: float) -> None:
        if at < self._watch_at:
            self._watch_at = at
            self._watch.notify()

    def _deliver(self) -> None:
        for item in self.core.take_finished():
            outcome = item.outcome
            assert outcome is not None
            if outcome.reason is Reason.ANSWERED:
                item.ticket.set_result(outcome.value)
            elif outcome.kind is OutcomeKind.CANCELLED:
                item.ticket.cancel()
            else:
                item.ticket.set_exception(exception_of(outcome))
            self._told(item)
        if self.core.draining and self.core.idle:
            self._over.notify_all()
            self._work.notify_all()
            self._watch.notify_all()
