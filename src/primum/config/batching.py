"""How requests are put together into batches."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from primum.config.reading import explain, read_mapping
from primum.errors import InputError


class BatchStrategy(StrEnum):
    """What bounds a batch besides its largest size, its members' deadlines and the memory that calls ran out of."""

    TAKE_ALL = "take_all"
    """Nothing: a free executor takes all that waits."""
    TIMEOUT = "timeout"
    """Nothing, but an incomplete batch is held until `max_wait_ms` after its oldest request: fewer, fuller calls."""
    LATENCY_AWARE = "latency_aware"
    """The target latency: wait and service of a batch together fit it; and no larger than throughput gains by."""
    MEMORY_AWARE = "memory_aware"
    """As latency-aware, and the memory that calls of each size were measured to take."""


class BatchConfig(BaseModel):
    """How requests are put together; mutable until a batcher uses it, then frozen.

    Raises pydantic's ValidationError on a value outside its range, InputError on a change after use.
    """

    model_config = ConfigDict(validate_assignment=True, extra="forbid")
    max_batch_size: int = Field(32, ge=1)
    """Of one call, in rows (cost units)."""
    enable_dynamic_batching: bool = True
    """False: every request runs alone."""
    target_latency_ms: float | None = Field(100.0, gt=0)
    """Bounds the batch size of the latency-aware strategies. No deadline: nothing is refused for it."""
    strategy: BatchStrategy = BatchStrategy.LATENCY_AWARE
    max_wait_ms: float = Field(10.0, ge=0)
    """Window: how long a batch may be held, from its oldest request. Held only for requests announced as being decoded,
    and with the timeout strategy."""
    memory_limit_mb: float | None = Field(None, gt=0)
    """Megabytes (1e6 bytes) that a call may take, by the memory-aware strategy."""
    max_queue_size: int = Field(1024, ge=1)
    """Bound of the queue, in rows; beyond it the lowest class is turned away first."""
    request_timeout_ms: float | None = Field(None, gt=0)
    """Deadline of requests that name none; None: they may wait for ever."""
    starvation_age_ms: float = Field(1000.0, gt=0)
    """A request that waited longer is starving."""
    starvation_quota: int = Field(8, ge=1)
    """While a request is starving, at least one in this many batches is led by the oldest such request."""
    latency_quantile: float = Field(0.95, gt=0.5, lt=1)
    """Quantile of measured latency by which deadlines are planned."""
    executors: int = Field(1, ge=1)
    """Calls that may run at the same time."""
    executor_timeout_s: float = Field(30.0, gt=0)
    """A call without an answer after this time counts as hung."""
    inline_below_us: float = Field(200.0, ge=0)
    """asyncio: calls learned to be shorter run in the event loop itself; handing over to a thread would cost more."""
    _in_use: bool = PrivateAttr(False)

    @model_validator(mode="after")
    def _memory_has_a_limit(self) -> BatchConfig:
        if self.strategy is BatchStrategy.MEMORY_AWARE and self.memory_limit_mb is None:
            raise ValueError("the memory-aware strategy needs memory_limit_mb")
        return self

    @classmethod
    def from_file(cls, path: Path, **over: Any) -> BatchConfig:
        """Read a YAML or TOML file; `over` stands in place of its values. InputError names the offending key."""
        try:
            raw = read_mapping(path)
            return cls.model_validate({**raw, **over} if isinstance(raw, dict) else raw)
        except OSError as error:
            raise InputError(f"cannot read the configuration {path}: {error.strerror}") from error
        except ValidationError as error:
            raise InputError(f"{path}: {explain(error, cls.model_fields)}") from error

    def in_use(self) -> BatchConfig:
        """Freeze this configuration and return it."""
        self._in_use = True
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        """InputError on a change after use."""
        if name in type(self).model_fields and self._in_use:
            raise InputError(f"this BatchConfig is in use, {name} cannot change: make a new one")
        super().__setattr__(name, value)
