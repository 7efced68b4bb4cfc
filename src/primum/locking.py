"""Locks between processes that the kernel frees when their holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from primum.files import storage


class Lock:
    """flock(2) on a file of its own, which stays behind. A child process does not inherit it.

    On a shared file system it holds between machines where that file system supports it (NFS since Linux 2.6.12).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._file is not None

    def take(self, *, wait: bool = True, shared: bool = False) -> bool:
        """Hold it from now on; False (only without `wait`) where another process does. StorageError."""
        if self._file is not None:
            return True
        with storage(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # A lock may lie in a folder that others write to: what they put there under its name is not followed.
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.flock(file, kind)
        except BlockingIOError:
            os.close(file)
            return False
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return True

    def say(self, text: str) -> None:
        """Write into the file who holds it. StorageError."""
        assert self._file is not None
        with storage(self.path):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text.encode(), 0)

    def release(self) -> None:
        """Let go of it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Lock:
        """Wait for it and hold it."""
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of it."""
        self.release()
