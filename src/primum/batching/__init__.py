"""Requests put together into batches: a pure core (`core.Batcher`), and its asyncio and thread faces."""

from primum.batching.async_processor import AsyncBatchProcessor
from primum.batching.batch_request import BatchRequest
from primum.batching.dynamic import DynamicBatcher, create_health_model_batcher
from primum.batching.priority import Priority
from primum.batching.processor import BatchProcessor
from primum.config.batching import BatchConfig, BatchStrategy

__all__ = [
    "AsyncBatchProcessor",
    "BatchConfig",
    "BatchProcessor",
    "BatchRequest",
    "BatchStrategy",
    "DynamicBatcher",
    "Priority",
    "create_health_model_batcher",
]
