"""Structured logs: one JSON object a line, of names, numbers and types. No word of a model, no payload, no id."""

from __future__ import annotations

import json
import logging
import traceback
import warnings
from datetime import UTC, datetime
from typing import TextIO

LOGGER = logging.getLogger("primum.serving")
_OWN = "primum"
_PLAIN = ("uvicorn", "opentelemetry")
"""Libraries whose texts are constant where they put nothing in."""


def note(event: str, level: int = logging.INFO, **fields: str | float | bool | None) -> None:
    """Log that something happened. `fields`: what the operator named or primum measured, never what a caller sent."""
    LOGGER.log(level, event, extra={"fields": fields})


class _Structured(logging.Formatter):
    """`always`: fields of every line."""

    def __init__(self, **always: int) -> None:
        super().__init__()
        self.always = always


class JsonLines(_Structured):
    """`time`, `level`, `logger`, `event` and fields. An exception is its type and where it was raised: its text may
    quote a patient.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": when, "level": record.levelname.lower(), "logger": record.name, "event": _text(record)}
        line |= self.always | getattr(record, "fields", {})
        return json.dumps(line | _failure(record), default=str)


class Lines(_Structured):
    """The same for people: time, level, event and name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        when = datetime.fromtimestamp(record.created).astimezone().isoformat(sep=" ", timespec="milliseconds")
        fields = self.always | getattr(record, "fields", {}) | _failure(record)
        told = "".join(f" {name}={value}" for name, value in fields.items())
        return f"{when} {record.levelname.lower()} {_text(record)}{told}"


def configure(as_json: bool, stream: TextIO | None = None, worker: int | None = None) -> None:
    """Send primum's log, and what is serious of the libraries', to `stream` (default: standard error).

    Warnings of Python go there too, as their kind and place. `worker`: its number is a field of every line.
    """
    always = {} if worker is None else {"worker": worker}
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(**always) if as_json else Lines(**always))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_OWN).setLevel(logging.INFO)
    warnings.showwarning = _warned


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """In place of Python's own, which writes the text."""
    note("a library warned", logging.WARNING, warning=category.__name__, at=f"{filename}:{lineno}")


def _text(record: logging.LogRecord) -> str:
    """What is logged; of a library only the text that it wrote beforehand, without what it put in."""
    if record.name.startswith(_OWN):
        return record.getMessage()
    return f"{record.name} logged something" if _put_together(record) else str(record.msg)


def _put_together(record: logging.LogRecord) -> bool:
    """Whether the text may hold more than what was written beforehand: there is nothing left to put in."""
    return not record.name.startswith((_OWN, *_PLAIN)) and not record.args


def _failure(record: logging.LogRecord) -> dict[str, str]:
    if not record.exc_info or record.exc_info[0] is None:
        return {"at": f"{record.pathname}:{record.lineno}"} if _put_together(record) else {}
    kind, _, trace = record.exc_info
    if trace is None:
        return {"error": kind.__name__}
    last = traceback.extract_tb(trace)[-1]
    return {"error": kind.__name__, "at": f"{last.filename}:{last.lineno}"}
