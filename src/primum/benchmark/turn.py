"""One timing at a time on a machine, beside nothing that another worker builds or judges.

Two locks in the temporary folder, which machines do not share as they may share a study. Work holds the second one
shared, a timing holds it alone; the first is a turnstile, or work that starts anew all the time would never let a
timing in.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from primum.locking import Lock

_DEPTH = threading.local()


@contextmanager
def timing_turn() -> Iterator[None]:
    """Wait until no process of this user on this machine times anything or is at work, and hold that. StorageError."""
    assert not _depth(), "a timing would wait for the work that it is part of"
    with _lock("turnstile"), _lock("work"):
        yield


@contextmanager
def working() -> Iterator[None]:
    """Work of seconds that a timing waits for, and that waits for a timing. May be nested. StorageError."""
    if _depth():
        yield
        return
    work = _lock("work")
    with _lock("turnstile"):
        work.take(shared=True)
    _DEPTH.value = 1
    try:
        yield
    finally:
        _DEPTH.value = 0
        work.release()


def _depth() -> int:
    return int(getattr(_DEPTH, "value", 0))


def _lock(name: str) -> Lock:
    return Lock(Path(tempfile.gettempdir()) / f"primum-{name}-{os.getuid()}.lock")
