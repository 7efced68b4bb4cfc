"""The asyncio driver of a batcher: futures, wake-ups, and where calls run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from time import monotonic, perf_counter
from typing import Any

from primum.batching.answer import deadline, exception_of
from primum.batching.core import Batcher
from primum.batching.latency import LatencyTables
from primum.batching.model_call import ModelCall, Prepared, Validate, invalid
from primum.batching.outcome import Reason
from primum.batching.priority import Priority
from primum.batching.profiling import MemoryProbe, profile, profile_awaited
from primum.batching.recovery import failure_of
from primum.batching.release import Failure
from primum.batching.request import Batch, Item
from primum.batching.settings import Settings
from primum.batching.stats import BatcherStats
from primum.batching.watching import WATCHED
from primum.batching.workers import Worker
from primum.config.batching import BatchConfig
from primum.errors import ExecutorHung, InputError

INLINE_S = 2e-3
"""Of one tick, calls in the loop take about as long as this: what arrives meanwhile, an emergency perhaps, waits
for the next tick. One call a tick would be too few: a tick may bring more requests than a batch takes, and those left
over would wait behind ever more.
"""


class Dispatcher:
    """Drives a batcher in one event loop, the one in which it is first used.

    Requests of one tick of the loop are batched together. A call learned to be shorter than the threshold runs in the
    loop itself, and at once where the last tick brought one request alone; others run in a thread for each executor; a
    coroutine function is awaited.
    """

    def __init__(
        self,
        call: ModelCall,
        config: BatchConfig,
        *,
        validate: Validate | None = None,
        tables: LatencyTables | None = None,
        name: str = "model",
        memory_probe: MemoryProbe | None = None,
    ) -> None:
        self.config = config.in_use()
        self.core = Batcher(Settings.of(config), model=name, tables=tables)
        self._call, self._validate, self._probe, self._name = call, validate, memory_probe, name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flushing = False
        self._came, self._lonely = 0, False
        self._timer: asyncio.TimerHandle | None = None
        self._watches: dict[int, asyncio.TimerHandle] = {}
        self._workers: list[Worker] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._ids = count()
        self._leaked = 0
        self._stopped: asyncio.Event | None = None
        self._inline_below = config.inline_below_us / 1e6

    def stats(self) -> BatcherStats:
        """A snapshot, with the executors that were given up and have not come back."""
        return replace(self.core.stats(), leaked_executors=self._leaked)

    def bind(self) -> asyncio.AbstractEventLoop:
        """The running loop, which this batcher belongs to from now on. Raises InputError in another."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop, self._stopped = loop, asyncio.Event()
        elif self._loop is not loop:
            raise InputError("this batcher belongs to another event loop: make one for each loop")
        return loop

    async def answer(
        self,
        prepared: Prepared,
        cases: Sequence[Any],
        priority: Priority | int | str,
        timeout_s: float | None,
        id: Hashable,
    ) -> Any:
        """The model's output for an input prepared from `cases`; raises what `exception_of` gives instead."""
        loop = self._loop if self._loop is asyncio.get_running_loop() else self.bind()
        now = monotonic()
        item = Item(
            next(self._ids) if id is None else id,
            prepared.payload,
            bucket=prepared.bucket,
            cost=prepared.cost,
            priority=priority if type(priority) is Priority else Priority.of(priority),
            deadline=deadline(now, timeout_s, self.config.request_timeout_ms),
        )
        waiter = item.ticket = loop.create_future()
        if (watched := WATCHED.get()) is not None:
            watched.append(item)
        if self._validate is not None and (error := invalid(self._validate, cases)) is not None:
            self.core.refuse(item, error, now)
        else:
            self.core.submit(item, now)
        self._came += 1
        if self._came == 1:
            loop.call_soon(self._tick)
            if self._lonely and not self._flushing and self._is_quick(item.bucket, item.cost):
                self._flush()
        if not self._flushing and not waiter.done():
            self._soon()
        try:
            return await waiter
        except asyncio.CancelledError:
            if self.core.cancel(item, monotonic()):
                self._after()
            raise

    @contextmanager
    def expecting(self, bucket: Hashable) -> Iterator[None]:
        """While a request of `bucket` is being decoded: an incomplete batch is held for it, at most for the window."""
        self.bind()
        self.core.expect(bucket)
        try:
            yield
        finally:
            self.core.settle(bucket)
            if self.core.waiting:
                self._soon()

    async def profile(self, one: Prepared, calls: int) -> tuple[int, ...]:
        """Measure sizes 1, 2, 4 … before requests come, in a thread, of a coroutine function in the loop; the sizes."""
        self.bind()
        most, plan = self.core.settings.max_batch_size, self.core.plan(one.bucket)
        if self._call.is_async:
            return await profile_awaited(self._call, plan, one, most, calls, self.config.executor_timeout_s)
        return await asyncio.to_thread(profile, self._call, plan, one, most, calls, self._probe)

    async def stop(self, drain: bool = True) -> None:
        """Refuse new requests, then answer those that are here (`drain`) or turn away those that wait.

        Calls that run are waited for, at most the executor timeout.
        """
        self.bind()
        if drain:
            self.core.drain()
        else:
            self.core.abandon(monotonic())
        self._soon()
        await self.stopped()

    async def stopped(self) -> None:
        """Return once this batcher was stopped and nothing waits or runs."""
        self.bind()
        assert self._stopped is not None
        await self._stopped.wait()

    def _soon(self) -> None:
        if not self._flushing and self._loop is not None:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _tick(self) -> None:
        """A tick of the loop that brought requests ended."""
        self._lonely, self._came = self._came == 1, 0

    def _flush(self) -> None:
        self._flushing = False
        core, now = self.core, monotonic()
        until = now + INLINE_S
        while (batch := core.next_batch(now)) is not None:
            if self._is_quick(batch.bucket, batch.size):
                self._run_inline(batch)
            else:
                self._hand_over(batch)
            now = monotonic()
            if now >= until:
                break
        self._after()
        if batch is not None and core.waiting:
            self._soon()

    def _after(self) -> None:
        """Tell who waits, and set the timer."""
        core, loop = self.core, self._loop
        assert loop is not None
        for item in core.take_finished():
            waiter, outcome = item.ticket, item.outcome
            if waiter.done() or outcome is None:
                continue
            if outcome.reason is Reason.ANSWERED:
                waiter.set_result(outcome.value)
            else:
                waiter.set_exception(exception_of(outcome))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if core.waiting:
            wake = core.next_wakeup(monotonic())
            if wake is not None:
                self._timer = loop.call_later(max(0.0, wake - monotonic()), self._flush)
        elif core.draining and core.idle:
            self._close()

    def _close(self) -> None:
        for worker in self._workers:
            worker.close()
        self._workers.clear()
        assert self._stopped is not None
        self._stopped.set()

    def _is_quick(self, bucket: Hashable, size: int) -> bool:
        """Whether a call is shorter than the way to a thread and back."""
        if self._call.is_async:
            return False
        table = self.core.plan(bucket).table
        return table.calls > 0 and table.unhindered(size) < self._inline_below

    def _run_inline(self, batch: Batch) -> None:
        assert self._loop is not None
        start = perf_counter()
        try:
            outputs = self._call.share(batch.items, self._call.call(self._call.gather(batch.items)))
        # The model is the user's own code: whatever it raises ends these requests, not the loop.
        except Exception as error:  # noqa: BLE001
            self._failed(batch, error)
        else:
            self.core.complete(batch, outputs, monotonic(), perf_counter() - start)

    def _failed(self, batch: Batch, error: BaseException) -> None:
        self.core.fail(batch, error, monotonic(), failure_of(error))

    def _hand_over(self, batch: Batch) -> None:
        assert self._loop is not None
        if self._call.is_async:
            task = self._loop.create_task(self._await(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        worker = self._worker()
        watch = self._loop.call_later(self.config.executor_timeout_s, self._hung, batch)
        self._watches[batch.id] = watch
        worker.run(lambda: self._in_thread(batch, worker))

    def _worker(self) -> Worker:
        return self._workers.pop() if self._workers else Worker(f"primum-{self._name}")

    def _in_thread(self, batch: Batch, worker: Worker) -> None:
        outputs, error, start = None, None, perf_counter()
        try:
            outputs = self._call.share(batch.items, self._call.call(self._call.gather(batch.items)))
        # As above; here also what would end the thread without a word.
        except BaseException as caught:  # noqa: BLE001
            error = caught
        seconds = perf_counter() - start
        taken = self._probe() if self._probe is not None and error is None else None
        self._to_loop(lambda: self._returned(batch, worker, outputs, error, seconds, taken))

    def _to_loop(self, call: Callable[[], object]) -> None:
        assert self._loop is not None
        # A loop that was closed has nobody left who waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    def _returned(
        self,
        batch: Batch,
        worker: Worker,
        outputs: Any,
        error: BaseException | None,
        seconds: float,
        taken: float | None,
    ) -> None:
        watch = self._watches.pop(batch.id, None)
        if watch is None:
            self._leaked -= 1
            worker.close()
            return
        watch.cancel()
        self._workers.append(worker)
        if error is not None:
            self._failed(batch, error)
        else:
            if taken is not None:
                self.core.plan(batch.bucket).took_memory(batch.size, taken)
            self.core.complete(batch, outputs, monotonic(), seconds)
        self._flush()

    def _hung(self, batch: Batch) -> None:
        del self._watches[batch.id]
        self._leaked += 1
        self.core.fail(batch, ExecutorHung(self.config.executor_timeout_s), monotonic(), Failure.HUNG)
        self._flush()

    async def _await(self, batch: Batch) -> None:
        assert self._loop is not None
        start = perf_counter()
        try:
            async with asyncio.timeout(self.config.executor_timeout_s) as limit:
                outputs = await self._call.call(self._call.gather(batch.items))
            shares = self._call.share(batch.items, outputs)
        except TimeoutError as error:
            if limit.expired():
                hung = ExecutorHung(self.config.executor_timeout_s)
                self.core.fail(batch, hung, monotonic(), Failure.HUNG)
            else:
                self._failed(batch, error)
        # As above; a cancelled call ends its requests too.
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            self._failed(batch, error)
        else:
            self.core.complete(batch, shares, monotonic(), perf_counter() - start)
        self._loop.call_soon(self._flush)
