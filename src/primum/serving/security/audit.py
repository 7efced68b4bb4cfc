"""Who asked what of which model, and how it ended: an append-only log, hash-chained, without any payload.

One JSON object a line. `hash` is SHA-256 over the line before's hash and this line's other fields, so a changed,
removed or inserted line is found; a file beside the log holds the hash of its end. The chain has no key: who can write
both files can write them anew, so keep copies of the end elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import Any, NamedTuple

from primum.errors import InputError, IntegrityError, StorageError
from primum.files import storage, write_bytes
from primum.locking import Lock

MOST_WAITING = 10_000
"""Records that may wait for a disk that takes none; beyond it `failing` holds even if the disk is not yet tried."""
_HEAD = ".head"
_TAIL = 2**20
"""Bytes of the log's end that are read first; more where its last lines are longer."""


class Event(NamedTuple):
    """One request that ended. `when`: seconds since the epoch; `status`: of the protocol that it came by."""

    when: float
    who: str
    what: str
    model: str
    sha256: str
    """Of the artifact that answered; empty where none did."""
    id: str
    cases: int
    status: int


@dataclass(frozen=True)
class AuditState:
    """Of a log that was read whole."""

    records: int
    end: str
    """Hash of the last record."""


class AuditLog:
    """Appends events; one process at a time. `add` is cheap, `write` is what takes the disk's time."""

    def __init__(self, path: Path) -> None:
        """Raises InputError where another process writes this log, IntegrityError where its end was changed."""
        self.path = path
        self._lock = Lock(path.with_name(f"{path.name}.lock"))
        if not self._lock.take(wait=False):
            raise InputError(f"{path}: another process writes this audit log; give each server its own")
        self._waiting: list[Event] = []
        self._writing = threading.Lock()
        self.failure = ""
        """Why the last write failed; empty where it did not."""
        self._file = -1
        try:
            with storage(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            if not self.head.exists() and _last_written(path):
                path.with_suffix(_HEAD).rename(self.head)
            self.dropped_bytes = self._cut_torn_line()
            """Of a last line that a crash cut short."""
            self._end, self._records = self._read_end()
        except BaseException:
            if self._file >= 0:
                os.close(self._file)
            self._lock.release()
            raise

    @property
    def head(self) -> Path:
        """Holds the hash of the last record."""
        return _head(self.path)

    @property
    def failing(self) -> bool:
        """Nothing more should be answered: it could not be recorded."""
        return bool(self.failure) or len(self._waiting) >= MOST_WAITING

    @property
    def waiting(self) -> int:
        """Records that are not on the disk yet."""
        return len(self._waiting)

    def add(self, event: Event) -> None:
        """Take an event down; `write` puts it on the disk."""
        self._waiting.append(event)

    def write(self) -> int:
        """Put what waits on the disk, durably; how many records. Where the disk takes none they go on waiting and
        `failure` says why.
        """
        with self._writing:
            events = self._waiting[:]
            if not events and not self.failure:
                return 0
            end, lines = self._end, []
            for number, event in enumerate(events, self._records + 1):
                line, end = _line(number, event, end)
                lines.append(line)
            size = os.fstat(self._file).st_size
            try:
                self._append(b"".join(lines), size)
                write_bytes(self.head, end.encode())
            except StorageError as error:
                # Of log and head both are written or neither: what is still waiting will be written once.
                os.ftruncate(self._file, size)
                self.failure = str(error)
                return 0
            del self._waiting[: len(events)]
            self._end, self._records, self.failure = end, self._records + len(events), ""
            return len(events)

    def close(self) -> None:
        """Write what waits and let another process have the log. Raises StorageError where that is impossible."""
        self.write()
        os.close(self._file)
        self._lock.release()
        if self._waiting:
            raise StorageError(f"{len(self._waiting)} audit records were not written: {self.failure}")

    def _append(self, content: bytes, place: int) -> None:
        with storage(self.path):
            rest = memoryview(content)
            while rest:
                done = os.pwrite(self._file, rest, place)
                rest, place = rest[done:], place + done
            os.fsync(self._file)

    def _cut_torn_line(self) -> int:
        tail, start = self._tail(lambda tail: b"\n" in tail)
        whole = tail.rfind(b"\n") + 1
        os.ftruncate(self._file, start + whole)
        return len(tail) - whole

    def _tail(self, enough: Callable[[bytes], bool]) -> tuple[bytes, int]:
        """The end of the log, as much of it as is enough, and where that begins."""
        size, wanted = os.fstat(self._file).st_size, _TAIL
        while True:
            start = max(0, size - wanted)
            with storage(self.path):
                tail = os.pread(self._file, size - start, start)
            if not start or enough(tail):
                return tail, start
            wanted *= 2

    def _read_end(self) -> tuple[str, int]:
        known = self.head.read_text().encode() if self.head.is_file() else b""
        # A crash may have come between the log and its head, which is then the end of an earlier write.
        tail, _ = self._tail(lambda tail: tail.count(b"\n") > 1 and known in tail)
        lines = tail.splitlines()
        last: dict[str, Any] = _parsed(self.path, "the last line", lines[-1]) if lines else {"hash": "", "n": 0}
        if known not in tail:
            raise IntegrityError(
                f"{self.path}: it does not hold the record that was written last, so records were removed or changed; "
                "restore it, or begin a new log"
            )
        return str(last["hash"]), int(last["n"])


def verify_audit(path: Path) -> AuditState:
    """Check every record of a log, also of one that a server is writing to, whose line in the making is left out.

    Raises InputError where there is no log, IntegrityError naming the first bad line.
    """
    written_last = _last_written(path)  # before the log, which may grow while it is read
    end, number, ended = "", 0, not written_last
    for number, (line, record) in enumerate(_records(path), 1):
        body = {key: value for key, value in record.items() if key != "hash"}
        # Byte by byte: another space between two values is a change too.
        same = record["n"] == number and record["hash"] == _hash(end, body) and line == _written(body, record["hash"])
        if not same:
            raise IntegrityError(f"{path}: line {number} was changed after it was written, or one before it is gone")
        end = record["hash"]
        ended = ended or end == written_last
    if not ended:
        raise IntegrityError(f"{path}: its end is not the one that was written last: records were removed")
    return AuditState(number, end)


def _head(path: Path) -> Path:
    """Of the log's whole name: `audit.log` and `audit.jsonl` may lie side by side."""
    return path.with_name(path.name + _HEAD)


def _last_written(path: Path) -> str:
    """What a log's head says its last record is; empty where it has none.

    An earlier release left the ending of the log out of the head's name. Such a head is the log's unless another log
    that it may be of holds the record.
    """
    head, earlier = _head(path), path.with_suffix(_HEAD)
    if head.is_file():
        return head.read_text()
    known = earlier.read_text() if earlier.is_file() else ""
    beside = (other for other in path.parent.glob(f"{escape(path.stem)}.*") if other not in (path, earlier))
    return "" if known and any(_ends_with(other, known) for other in beside) else known


def _ends_with(path: Path, known: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return f'"hash": "{known}"'.encode() in file.read()


def _records(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    if not path.is_file():
        raise InputError(f"{path}: there is no audit log")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return  # a server is writing it, or a crash cut it short: the next server takes it away
            yield line, _parsed(path, f"line {number}", line)


def _parsed(path: Path, which: str, line: bytes) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(line)
        return {**record, "hash": str(record["hash"]), "n": int(record["n"])}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError(f"{path}: {which} is no record of an audit log") from error


def _line(number: int, event: Event, previous: str) -> tuple[bytes, str]:
    when = datetime.fromtimestamp(event.when, UTC).isoformat(timespec="milliseconds")
    body = {"n": number, **event._asdict(), "when": when}
    digest = _hash(previous, body)
    return _written(body, digest), digest


def _written(body: dict[str, Any], digest: str) -> bytes:
    return json.dumps({**body, "hash": digest}).encode() + b"\n"


def _hash(previous: str, body: dict[str, Any]) -> str:
    return hashlib.sha256((previous + json.dumps(body, sort_keys=True)).encode()).hexdigest()
