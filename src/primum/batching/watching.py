"""Who wants to know how their requests went: the items that were submitted while somebody watched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from primum.batching.request import Item

WATCHED: ContextVar[list[Item] | None] = ContextVar("primum_watched", default=None)
"""Where drivers put the items that they submit in this context."""


@contextmanager
def watching() -> Iterator[list[Item]]:
    """The items that this task and those it starts submit from now on; each tells its times once it has ended."""
    items: list[Item] = []
    token = WATCHED.set(items)
    try:
        yield items
    finally:
        WATCHED.reset(token)
