"""BatchProcessor: threads submit requests and fetch results by id."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Self

from primum.batching.batch_request import BatchRequest
from primum.batching.model_call import call_of, invalid
from primum.batching.priority import Priority
from primum.batching.profiling import MemoryProbe, probe_for, profile
from primum.batching.report import PerformanceReport, report_of
from primum.batching.request import Item
from primum.batching.threads import ThreadDispatcher
from primum.config.batching import BatchConfig
from primum.errors import InputError

_KEPT = 10_000


class BatchProcessor:
    """Batches what threads submit to one model; safe to use from any number of threads.

    `inference_function` as DynamicBatcher's model, but no coroutine function. `validate(input_data)` raises InputError,
    ValueError or TypeError for an input that must not join a batch. Results are kept until they are fetched, the latest
    10,000 of them; how many were discarded is in the report.
    """

    def __init__(
        self,
        config: BatchConfig,
        inference_function: Any,
        *,
        validate: Callable[[Any], None] | None = None,
        stacked: bool = False,
        memory_probe: MemoryProbe | None = None,
    ) -> None:
        self._call = call_of(inference_function, stacked)
        if self._call.is_async:
            raise InputError("a coroutine function needs AsyncBatchProcessor")
        self._validate, self._probe = validate, memory_probe or probe_for(config)
        self._threads = ThreadDispatcher(self._call, config, self._ended, self._probe)
        self._items: dict[str, Item] = {}
        self._unfetched: deque[str] = deque()
        self._discarded = 0

    @property
    def config(self) -> BatchConfig:
        """The configuration in force; frozen."""
        return self._threads.config

    def start(self) -> Self:
        """Start the threads. Raises InputError where it was started or stopped before."""
        if self._threads.started or self._threads.core.draining:
            raise InputError("this processor was started before: make a new one")
        self._threads.start()
        return self

    def stop(self, drain: bool = True, timeout: float | None = None) -> None:
        """Refuse new requests; answer those that are here (`drain`), or turn away those that wait.

        Waits for calls that run, at most the executor timeout. Raises TimeoutError after `timeout` seconds.
        """
        self._threads.stop(drain, timeout)

    def submit_request(self, request: BatchRequest) -> str:
        """Hand in one request; its id, for `get_result`. Never waits: a rejection comes out of `get_result`.

        Raises InputError where its id is in use, its priority unknown, its input cannot be given to the model, or the
        processor is not started.
        """
        prepared = self._call.prepare(request.input_data)
        priority = Priority.of(request.priority)
        refused = invalid(self._validate, (request.input_data,))
        if not self._threads.started:
            raise InputError("start() the processor before submitting requests")
        with self._threads.lock:
            if request.request_id in self._items:
                raise InputError(f"request id {request.request_id!r} is in use: fetch its result, or take another")
            self._threads.submit(request.request_id, prepared, priority, request.timeout_s, refused, self._known)
        return request.request_id

    def submit_batch(self, requests: Sequence[BatchRequest]) -> list[str]:
        """Hand in many requests; their ids in order."""
        return [self.submit_request(request) for request in requests]

    def get_result(self, request_id: str, timeout: float | None = None) -> Any:
        """Wait for the output of a request and forget it; raises as DynamicBatcher.predict does.

        Raises TimeoutError after `timeout` seconds (the request goes on), InputError for an unknown id.
        """
        with self._threads.lock:
            item = self._items.get(request_id)
        if item is None:
            raise InputError(f"no request {request_id!r}: never submitted, fetched before, or discarded as too old")
        try:
            return item.ticket.result(timeout)
        finally:
            if item.ticket.done():
                with self._threads.lock:
                    self._items.pop(request_id, None)

    def cancel_request(self, request_id: str) -> bool:
        """Cancel a request; False where it has ended. `get_result` then raises concurrent.futures.CancelledError."""
        with self._threads.lock:
            item = self._items.get(request_id)
            return item is not None and self._threads.cancel(item)

    def process_many(self, inputs: Sequence[Any], timeout: float | None = None) -> list[Any]:
        """Outputs for more inputs than one call or the queue takes, in order; raises as `get_result`.

        They are handed in as many at a time as keep the executors busy, so that other requests find room in the queue.
        """
        until = None if timeout is None else monotonic() + timeout
        step = min(self.config.max_batch_size * (self.config.executors + 1), self.config.max_queue_size)
        outputs: list[Any] = []
        for start in range(0, len(inputs), step):
            ids = self.submit_batch([BatchRequest(value) for value in inputs[start : start + step]])
            try:
                for request_id in ids:
                    left = None if until is None else max(0.0, until - monotonic())
                    outputs.append(self.get_result(request_id, left))
            finally:
                for request_id in ids[len(outputs) - start :]:
                    self.cancel_request(request_id)
        return outputs

    def warm_up(self, input_data: Any, calls: int = 5) -> tuple[int, ...]:
        """Time batches of 1, 2, 4 … copies of an input before `start`; the sizes measured.

        Raises what the model raises, and InputError once requests may come.
        """
        if self._threads.started:
            raise InputError("warm_up() belongs before start(): it would take the model from waiting requests")
        core, one = self._threads.core, self._call.prepare(input_data)
        return profile(self._call, core.plan(one.bucket), one, core.settings.max_batch_size, calls, self._probe)

    def get_performance_report(self) -> PerformanceReport:
        """What happened so far."""
        with self._threads.lock:
            return report_of(self._threads.stats(), self._discarded)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(drain=error is None)

    def _known(self, item: Item) -> None:
        self._items[str(item.id)] = item

    def _ended(self, item: Item) -> None:
        """Bound what is kept for those who never fetch."""
        self._unfetched.append(str(item.id))
        while len(self._unfetched) > _KEPT:
            old = self._items.get(self._unfetched.popleft())
            if old is not None and old.ticket.done():
                del self._items[str(old.id)]
                self._discarded += 1
