"""Progress for programs: where the work is, as one JSON object a line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType

from primum.files import storage
from primum.progress import Progress

_EVERY_S = 0.2
"""Between lines of one stage."""


class ProgressFile:
    """Writes each stage, and now and then its steps, to a file: {"stage", "done", "total"}; hands all on to `listener`.

    What is said is handed on alone: it may name cases.
    """

    def __init__(self, path: Path, listener: Progress) -> None:
        """Raises StorageError."""
        with storage(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8")
        self._path, self._listener = path, listener
        self._stage: str | None = None
        self._total: int | None = None
        self._written = 0.0

    def stage(self, name: str, total: int | None = None) -> None:
        """A new stretch begins."""
        self._listener.stage(name, total)
        self._stage, self._total = name, total
        self._write(0)

    def advance(self, done: int) -> None:
        """`done` steps of it are finished."""
        self._listener.advance(done)
        if done == self._total or time.monotonic() - self._written >= _EVERY_S:
            self._write(done)

    def say(self, text: str) -> None:
        """Handed on."""
        self._listener.say(text)

    def __enter__(self) -> ProgressFile:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, done: int) -> None:
        self._written = time.monotonic()
        with storage(self._path):
            self._file.write(json.dumps({"stage": self._stage, "done": done, "total": self._total}) + "\n")
            self._file.flush()
