"""The configuration and what the core makes of it."""

import pytest
from pydantic import ValidationError

import primum
from primum.batching.settings import Settings
from primum.config import BatchConfig, BatchStrategy
from primum.errors import InputError


def test_it_is_changed_until_it_is_in_use():
    config = BatchConfig()
    config.max_batch_size = 64
    config.enable_dynamic_batching = True
    primum.BatchProcessor(config, lambda batch: batch)
    with pytest.raises(InputError, match="max_batch_size cannot change"):
        config.max_batch_size = 8


@pytest.mark.parametrize(
    "wrong", [{"max_batch_size": 0}, {"target_latency_ms": 0}, {"unknown": 1}, {"strategy": "memory_aware"}]
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValidationError):
        BatchConfig(**wrong)


def test_the_core_is_told_in_seconds_and_bytes():
    config = BatchConfig(
        target_latency_ms=50, max_wait_ms=5, memory_limit_mb=2, strategy=BatchStrategy.MEMORY_AWARE, executors=3
    )
    settings = Settings.of(config)
    assert (settings.target_s, settings.window_s, settings.memory_limit_bytes) == (0.05, 0.005, 2e6)
    assert (settings.executors, settings.strategy) == (3, BatchStrategy.MEMORY_AWARE)
    assert Settings.of(BatchConfig(target_latency_ms=None)).target_s is None


def test_without_dynamic_batching_every_request_runs_alone():
    assert Settings.of(BatchConfig(enable_dynamic_batching=False)).max_batch_size == 1
