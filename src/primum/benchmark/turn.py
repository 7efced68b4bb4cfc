"""One timing at a time on a machine: a ratio means nothing beside another measurement of our own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from primum.locking import Lock


@contextmanager
def timing_turn() -> Iterator[None]:
    """Wait until no other process of this user on this machine times anything, and hold that. StorageError.

    The lock lies in the temporary folder, which machines do not share as they may share a study.
    """
    with Lock(Path(tempfile.gettempdir()) / f"primum-timing-{os.getuid()}.lock"):
        yield
