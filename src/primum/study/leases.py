"""Who runs what: a recipe belongs to one worker of a study at a time, and to nobody once that worker is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from primum.locking import Lock


class Leases:
    """The recipes that one worker has taken on. A lease ends with its process, a kill included.

    The file of a lease stays behind and names the worker that ran the recipe last.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self.folder, self.worker = folder, worker
        self._held: dict[str, Lock] = {}

    def take(self, key: str, *, wait: bool = False) -> bool:
        """Lease a recipe; False (only without `wait`) where another worker has it. StorageError."""
        if key in self._held:
            return True
        lock = Lock(self.folder / key)
        if not lock.take(wait=wait):
            return False
        self._held[key] = lock
        return True

    def sign(self, key: str) -> None:
        """Write into a lease that is held that this worker runs the recipe. StorageError."""
        self._held[key].say(self.worker)

    def release(self, key: str) -> None:
        """Give a lease back."""
        lock = self._held.pop(key, None)
        if lock is not None:
            lock.release()

    @contextmanager
    def holding(self, key: str) -> Iterator[None]:
        """Wait for a recipe and hold it; one that was held before stays so."""
        before = key in self._held
        self.take(key, wait=True)
        try:
            yield
        finally:
            if not before:
                self.release(key)

    def last(self, key: str) -> str:
        """The worker that ran a recipe last; "" for none."""
        path = self.folder / key
        return path.read_text() if path.is_file() else ""
