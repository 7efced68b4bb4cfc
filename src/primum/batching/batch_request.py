"""A request as the specification's processors take it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from primum.batching.priority import Priority


@dataclass(frozen=True)
class BatchRequest:
    """One input for a BatchProcessor or an AsyncBatchProcessor."""

    input_data: Any
    request_id: str = field(default_factory=lambda: uuid4().hex)
    priority: Priority | int | str = Priority.ROUTINE
    """A class, its name, or a number: 1 is an emergency, 2 urgent, 0 and above 2 routine."""
    timeout_s: float | None = None
    """Due within; None: the configuration's."""
