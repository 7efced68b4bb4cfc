"""What is known of artifacts' flips, kept in a folder so that a restart does not forget it."""

from __future__ import annotations

import threading
from pathlib import Path

from pydantic import ValidationError

from primum.errors import InputError
from primum.files import storage, write_bytes
from primum.serving.ladder.flip_test import FlipRecord


class TrustStore:
    """One small JSON file for each artifact, by its digest. A bar that was written is never taken back by a write."""

    def __init__(self, folder: Path) -> None:
        """Raises StorageError where the folder cannot be made."""
        self._folder, self._writing = folder, threading.Lock()
        with storage(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """The file of an artifact."""
        return self._folder / f"{sha256}.json"

    def read(self, sha256: str) -> FlipRecord | None:
        """What is known of an artifact; None where nothing is. InputError where its file is damaged."""
        path = self.path(sha256)
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        try:
            record = FlipRecord.model_validate_json(text)
        except ValidationError as error:
            raise InputError(f"{path}: it is no record of flips; restore it, or remove it to begin anew") from error
        if record.sha256 != sha256:
            raise InputError(f"{path}: it is the record of another artifact")
        return record

    def write(self, record: FlipRecord) -> None:
        """Keep a record, durably. Raises StorageError, and InputError as `read`."""
        with self._writing:
            if record.barred is None and (old := self.read(record.sha256)) is not None and old.barred is not None:
                return
            write_bytes(self.path(record.sha256), record.model_dump_json(indent=1).encode())
