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


def test_a_file_and_what_stands_over_it(tmp_path):
    file = tmp_path / "batching.yaml"
    file.write_text("strategy: timeout\nmax_wait_ms: 5\nexecutor_timeout_s: 2\n")
    config = BatchConfig.from_file(file, max_wait_ms=1, executors=2)
    assert config == BatchConfig(strategy="timeout", max_wait_ms=1, executor_timeout_s=2, executors=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_batch: 4", "max_batch: .*did you mean max_batch_size"),
        ("max_wait_ms: -1", "max_wait_ms: .*greater than or equal to 0"),
        ("strategy: memory_aware", "needs memory_limit_mb"),
        ("[4]", "valid dictionary"),
        ("a: [", "is not valid"),
        (None, "cannot read"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path, text, said):
    file = tmp_path / "batching.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=said):
        BatchConfig.from_file(file)
