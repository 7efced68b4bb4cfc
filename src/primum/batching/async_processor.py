"""AsyncBatchProcessor: requests of the specification's form, a coroutine function as the model."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from primum.batching.batch_request import BatchRequest
from primum.batching.dynamic import DynamicBatcher
from primum.batching.report import PerformanceReport, report_of
from primum.config.batching import BatchConfig


class AsyncBatchProcessor:
    """`inference_function` is given a list of inputs and returns, or is awaited for, one output for each, in order."""

    def __init__(self, config: BatchConfig, inference_function: Any, **options: Any) -> None:
        self._batcher = DynamicBatcher(inference_function, config=config, **options)

    async def submit_async_request(self, request: BatchRequest) -> Any:
        """The output for one request; raises as DynamicBatcher.predict does."""
        return await self._batcher.predict(
            request.input_data, priority=request.priority, timeout_s=request.timeout_s, request_id=request.request_id
        )

    def get_performance_report(self) -> PerformanceReport:
        """What happened so far."""
        return report_of(self._batcher.stats())

    async def start(self) -> Self:
        """Take the running event loop; the first request does it too."""
        await self._batcher.start()
        return self

    async def stop(self, drain: bool = True) -> None:
        """Refuse new requests; answer those that are here (`drain`), or turn away those that wait."""
        await self._batcher.stop(drain)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(drain=error is None)
