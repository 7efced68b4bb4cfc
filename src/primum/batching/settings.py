"""What the core is told: seconds, bytes and cost units."""

from __future__ import annotations

from dataclasses import dataclass

from primum.config.batching import BatchConfig, BatchStrategy


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the core; BatchConfig explains them."""

    strategy: BatchStrategy = BatchStrategy.LATENCY_AWARE
    max_batch_size: int = 32
    executors: int = 1
    window_s: float = 0.01
    target_s: float | None = 0.1
    memory_limit_bytes: float | None = None
    max_queue_size: int = 1024
    starvation_age_s: float = 1.0
    starvation_quota: int = 8
    latency_quantile: float = 0.95
    tick_s: float = 1e-3
    """How late a timer may fire: wake-ups before a deadline are earlier by it, those after it later."""

    @classmethod
    def of(cls, config: BatchConfig) -> Settings:
        """The settings that a configuration stands for; without dynamic batching every request runs alone."""
        limit = config.memory_limit_mb
        return cls(
            strategy=config.strategy,
            max_batch_size=config.max_batch_size if config.enable_dynamic_batching else 1,
            executors=config.executors,
            window_s=config.max_wait_ms / 1e3,
            target_s=None if config.target_latency_ms is None else config.target_latency_ms / 1e3,
            memory_limit_bytes=None if limit is None else limit * 1e6,
            max_queue_size=config.max_queue_size,
            starvation_age_s=config.starvation_age_ms / 1e3,
            starvation_quota=config.starvation_quota,
            latency_quantile=config.latency_quantile,
        )
