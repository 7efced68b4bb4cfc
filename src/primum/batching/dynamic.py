"""DynamicBatcher: one coroutine call a request, one model call a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping
from contextlib import AbstractContextManager
from time import monotonic
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from primum.batching.admission import Backlog
from primum.batching.dispatcher import Dispatcher
from primum.batching.latency import LatencyTables
from primum.batching.model_call import Validate, call_of
from primum.batching.priority import Priority
from primum.batching.profiling import MemoryProbe, probe_for
from primum.batching.recovery import ran_out_of_memory
from primum.batching.stats import BatcherStats
from primum.config import explain
from primum.config.batching import BatchConfig
from primum.errors import InputError


class DynamicBatcher:
    """Batches what coroutines ask of one model; use in one event loop.

    `model` has `predict_tensor(array)` (a Predictor), or `predict_batch(list)`, or is a callable that takes a list, or
    an array (N, *shape) where `stacked`; it may be a coroutine function. It returns one output for each input, in
    order. `validate(features)` is called on each input before it joins. Raises InputError for another model, or where
    `config` is given together with the settings that it holds.
    """

    def __init__(
        self,
        model: Any,
        max_batch_size: int | None = None,
        max_wait_ms: float | None = None,
        *,
        config: BatchConfig | None = None,
        validate: Validate | None = None,
        stacked: bool = False,
        name: str = "model",
        tables: LatencyTables | None = None,
        memory_probe: MemoryProbe | None = None,
    ) -> None:
        given = {"max_batch_size": max_batch_size, "max_wait_ms": max_wait_ms}
        given = {key: value for key, value in given.items() if value is not None}
        if config is not None and given:
            raise InputError(f"give {' and '.join(given)} either in the configuration or beside it, not both")
        config = config or BatchConfig.model_validate(given)
        self._call = call_of(model, stacked)
        self._dispatcher = Dispatcher(
            self._call,
            config,
            validate=validate,
            tables=tables,
            name=name,
            memory_probe=memory_probe or probe_for(config),
        )

    @property
    def config(self) -> BatchConfig:
        """The configuration in force; frozen."""
        return self._dispatcher.config

    async def predict(
        self,
        features: Any,
        *,
        priority: Priority | int | str = Priority.ROUTINE,
        timeout_s: float | None = None,
        request_id: Hashable = None,
    ) -> Any:
        """The model's output for one input, due within `timeout_s` (default: the configuration's).

        Raises RequestRejected, RequestExpired, OutputCountError, ExecutorHung, ExecutorDied, InputError for an input
        that cannot be given to the model, or what the model raised for this input. Cancelling the awaiting task cancels
        the request.
        """
        return await self._dispatcher.answer(self._call.prepare(features), (features,), priority, timeout_s, request_id)

    async def predict_many(
        self, cases: Any, *, priority: Priority | int | str = Priority.ROUTINE, timeout_s: float | None = None
    ) -> Any:
        """Outputs for many inputs, more than one call takes: an array (N, ...) of an array, else a list, in order.

        They go in chunks as large as a batch may be now, one after the other; a chunk that runs out of memory goes
        again in halves. `timeout_s` is for all of them. Raises as `predict` for the first chunk that has no answer.
        """
        if not len(cases):
            raise InputError("predict_many was given no inputs")
        self._dispatcher.bind()
        due = None if timeout_s is None else monotonic() + timeout_s
        bucket = self._call.prepare(cases[0]).bucket
        done: list[Any] = []
        start = 0
        while start < len(cases):
            rows = self._dispatcher.core.plan(bucket).limit().size
            done.extend(await self._part(cases[start : start + rows], priority, due))
            start += rows
        return self._call.join(done)

    async def warm_up(self, features: Any, calls: int = 5) -> tuple[int, ...]:
        """Time batches of 1, 2, 4 … copies of an input before requests come; the sizes measured.

        Raises what the model raises, and ExecutorHung where a coroutine function outlasts the executor timeout.
        """
        return await self._dispatcher.profile(self._call.prepare(features), calls)

    def expecting(self, features_bucket: Hashable) -> AbstractContextManager[None]:
        """While a request is being decoded: a batch of its bucket may be held for it, at most for `max_wait_ms`."""
        return self._dispatcher.expecting(features_bucket)

    def bucket(self, features: Any) -> Hashable:
        """The bucket of an input: what may share a batch with it."""
        return self._call.prepare(features).bucket

    def backlog(self) -> Backlog:
        """How much is asked of the model now; cheap."""
        return self._dispatcher.core.backlog(self._dispatcher.bind().time())

    def capacity(self, bucket: Hashable) -> float:
        """Rows of a bucket that could be answered a second, all executors together, by what was learned; else infinite.

        Learned of one executor where the others rest: less where they share cores.
        """
        return self._dispatcher.core.plan(bucket).capacity() * self.config.executors

    def batch_seconds(self, bucket: Hashable) -> float:
        """What the largest batch of a bucket takes now, by what was learned; 0 before."""
        plan = self._dispatcher.core.plan(bucket)
        return plan.seconds(plan.limit().size)

    def forget(self, bucket: Hashable) -> None:
        """Let go of what was learned of a bucket that will not be asked again."""
        self._dispatcher.core.forget(bucket)

    def stats(self) -> BatcherStats:
        """A snapshot of what happened so far."""
        return self._dispatcher.stats()

    async def start(self) -> Self:
        """Take the running event loop; the first `predict` does it too."""
        self._dispatcher.bind()
        return self

    async def stop(self, drain: bool = True) -> None:
        """Refuse new requests; answer those that are here (`drain`), or turn away those that wait."""
        await self._dispatcher.stop(drain)

    async def batch_processor(self) -> None:
        """Return once the batcher was stopped. Nothing needs it: batches go as requests come."""
        await self._dispatcher.stopped()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(drain=error is None)

    async def _part(self, part: Any, priority: Priority | int | str, due: float | None) -> list[Any]:
        """Answers for as many inputs as one batch takes; in halves where a chunk of an array runs out of memory."""
        pieces = self._call.split(part, len(part))
        left = None if due is None else due - monotonic()
        whole = len(pieces) == 1
        tasks = [
            asyncio.ensure_future(self._dispatcher.answer(piece, part if whole else (case,), priority, left, None))
            for piece, case in zip(pieces, part)
        ]
        try:
            return list(await asyncio.gather(*tasks))
        except Exception as error:
            if not (whole and len(part) > 1 and ran_out_of_memory(error)):
                raise
        finally:
            for task in tasks:
                task.cancel()
        middle = len(part) // 2
        first = await self._part(part[:middle], priority, due)
        return first + await self._part(part[middle:], priority, due)


def create_health_model_batcher(
    model: Any, batching_config: BatchConfig | Mapping[str, Any] | None = None, **options: Any
) -> DynamicBatcher:
    """A batcher for `model` (a Predictor, an object with `predict_batch`, or a callable) by `batching_config`.

    The configuration may be a mapping of its fields; `options` are those of DynamicBatcher. Raises InputError where a
    field is unknown or out of range.
    """
    if not isinstance(batching_config, BatchConfig):
        try:
            batching_config = BatchConfig.model_validate(batching_config or {})
        except ValidationError as error:
            raise InputError(f"batching_config: {explain(error)}") from error
    return DynamicBatcher(model, config=batching_config, **options)
