"""The ledger of openings of confirmation sets, and of validations: append-only, hash-chained, outside every output.

It is keyed by what the cases contain once decoded, so no new seed or folder, and no copy of the data that is renamed or
saved anew escapes it. Openings by an older key are told as such.

The chain has no key. It shows an edit of the ledger alone. Where ledger and head file are written anew, together, by
somebody who may write both, nothing here shows it: only a copy, or the hash of an opening, that was kept elsewhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from primum.data.content import KEY
from primum.errors import IntegrityError
from primum.files import storage, write_bytes

CONFIRMATION, GUARD, SEARCH, VALIDATION = "confirmation", "guard", "search", "validation"
_FIELDS = {"when", "candidate", "cases", "previous"}


@dataclass(frozen=True)
class Opening:
    """One opening of a confirmation set for one frozen candidate."""

    when: str
    """UTC, to the microsecond: it tells two looks of one second apart."""
    candidate: str
    """Digest of the frozen candidate (recipe, parent model, judging policy) and of what it is judged by."""
    cases: tuple[str, ...]
    """Digests of the cases' content."""
    hash: str
    """Of this record and, through it, of all before: kept elsewhere, it shows later that none was removed."""
    key: str = KEY
    """What the digests are taken over; "" where that was the bytes of the files."""
    look: str = CONFIRMATION
    """"confirmation", "guard" (opened to set a band) or "search" (calibration, selection) of a study, "validation" of
    an artifact."""


def state_folder() -> Path:
    """Where primum keeps what must outlive an output folder: $PRIMUM_STATE, or the XDG state folder."""
    chosen = os.environ.get("PRIMUM_STATE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "primum"


class Ledger:
    """Reads and appends openings.

    Raises IntegrityError where the chain of hashes is broken or does not end at its head; a chain and head that were
    written anew, together, are taken as they are.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or state_folder() / "confirmation-ledger.jsonl"

    @property
    def head(self) -> Path:
        """Holds the hash of the last record: a chain alone does not show that its end was cut off."""
        return self.path.with_suffix(".head")

    def openings(self) -> tuple[Opening, ...]:
        """All openings, oldest first, after the chain and its end are checked."""
        ended = self._ended()  # asked first: another process may write the first record between two looks
        if not self.path.exists():
            self._check_end([], ended)
            return ()
        with self.path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            records, _ = self._checked(file.read())
            self._check_end(records, self._ended())
        return tuple(_opening(record) for record in records)

    def prior(self, cases: Sequence[str], candidate: str) -> tuple[tuple[Opening, float], ...]:
        """Openings for *other* candidates that share cases, each with the share of `cases` it had seen."""
        mine = set(cases)
        others = [o for o in self.openings() if o.candidate != candidate and o.key == KEY]
        seen = [(o, len(mine & set(o.cases)) / max(len(mine), 1)) for o in others]
        return tuple((o, share) for o, share in seen if share > 0)

    def uncomparable(self) -> tuple[Opening, ...]:
        """Openings of an older release, whose cases are known by another key: `prior` can say nothing of them."""
        return tuple(o for o in self.openings() if o.key != KEY)

    def record(self, cases: Sequence[str], candidate: str, look: str = CONFIRMATION) -> Opening:
        """Append an opening, before the cases are looked at; once for one candidate on the same cases."""
        when, listed = datetime.now(UTC).isoformat(timespec="microseconds"), tuple(sorted(cases))
        with storage(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                content = file.read()
                records, torn = self._checked(content)
                self._check_end(records, self._ended())
                previous = records[-1]["hash"] if records else ""
                if previous:
                    self._keep_head(previous)  # a crash may have left it one record behind
                for known in map(_opening, records):
                    if (known.candidate, known.cases, known.key) == (candidate, listed, KEY):
                        return known
                body = {"when": when, "candidate": candidate, "cases": list(listed), "key": KEY, "look": look,
                        "previous": previous}  # fmt: skip
                digest = _hash(body)
                line = json.dumps({**body, "hash": digest}).encode() + b"\n"
                end = len(content) - torn
                _append(file, end, line if content[:end].endswith(b"\n") or not end else b"\n" + line)
                self._keep_head(digest)
        return Opening(when, candidate, listed, digest, look=look)

    def _keep_head(self, digest: str) -> None:
        if not self.head.is_file() or self.head.read_text() != digest:
            write_bytes(self.head, digest.encode())

    def _ended(self) -> str:
        """The hash in the head; "" where there is none, or where none can be: then `record` says so."""
        try:
            return self.head.read_text()
        except (FileNotFoundError, NotADirectoryError):
            return ""

    def _check_end(self, records: list[dict[str, Any]], head: str) -> None:
        """A ledger may be one record ahead of its head, where a crash fell between the two, but never behind it."""
        known = ["", *(record["hash"] for record in records)]
        if head not in known[-2:]:
            raise IntegrityError(
                f"{self.path}: its end is not the one that was written last, so openings of confirmation sets were "
                "removed. Restore the file, or judge new patients with a new PRIMUM_STATE"
            )

    def _checked(self, content: bytes) -> tuple[list[dict[str, Any]], int]:
        """The records, and the number of bytes of a last line that a crash cut short.

        Such a line is an opening that never happened: `record` returns once the whole line is on the disk.
        """
        records: list[dict[str, Any]] = []
        previous = ""
        lines = content.split(b"\n")
        for number, line in enumerate(lines, 1):
            last = number == len(lines)
            if last and not line:
                break
            try:
                record: dict[str, Any] = json.loads(line)
                body = {name: value for name, value in record.items() if name != "hash"}
                sound = body.keys() >= _FIELDS and record["hash"] == _hash(body) and record["previous"] == previous
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                if last and isinstance(error, ValueError):
                    return records, len(line)
                sound = False
            if not sound:
                raise IntegrityError(
                    f"{self.path}: line {number} was changed after it was written, so openings of confirmation sets "
                    "can no longer be trusted. Restore the file, or judge new patients with a new PRIMUM_STATE"
                )
            previous = record["hash"]
            records.append(record)
        return records, 0


def _append(file: FileIO, end: int, line: bytes) -> None:
    """Write `line` at `end`, durably; what cannot be written whole is taken back."""
    file.truncate(end)
    try:
        rest = memoryview(line)
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(end)
        raise


def _opening(record: dict[str, Any]) -> Opening:
    key, look = record.get("key", ""), record.get("look", CONFIRMATION)
    return Opening(record["when"], record["candidate"], tuple(record["cases"]), record["hash"], key, look)


def _hash(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
