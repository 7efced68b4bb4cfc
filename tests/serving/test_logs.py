"""What the log says, and what it never says."""

import io
import json
import logging

import pytest

from primum.serving.logs import configure, note

SECRET = "Maria Musterfrau"


@pytest.fixture
def log():
    """Lines so far, as they were written."""
    root, own = logging.getLogger(), logging.getLogger("primum")
    before = (root.handlers[:], root.level, own.level)
    written = io.StringIO()

    def start(as_json):
        configure(as_json, written)
        return lambda: written.getvalue().splitlines()

    yield start
    root.handlers[:], root.level, own.level = before


def test_a_line_of_json_holds_the_event_and_its_fields(log):
    lines = log(True)
    note("model loaded", model="risk", cases=3)
    (line,) = lines()
    told = json.loads(line)
    assert told["event"] == "model loaded" and told["model"] == "risk" and told["cases"] == 3
    assert told["level"] == "info" and told["time"].endswith("+00:00")


@pytest.mark.parametrize("as_json", [True, False])
def test_no_word_of_an_exception_or_of_a_librarys_arguments_is_written(log, as_json):
    lines = log(as_json)
    try:
        raise ValueError(SECRET)
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    logging.getLogger("uvicorn.error").warning("Invalid header %s", SECRET)
    written = "\n".join(lines())
    assert SECRET not in written and "ValueError" in written and "test_logs.py:" in written
    assert len(lines()) == 2


def test_libraries_are_heard_only_when_it_is_serious(log):
    lines = log(False)
    logging.getLogger("uvicorn.error").info("Started server process")
    assert lines() == []
