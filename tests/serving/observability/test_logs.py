"""What the log says, and what it never says."""

import io
import json
import logging
import warnings

import pytest

from primum.serving.observability.logs import configure, note

SECRET = "Maria Musterfrau"


@pytest.fixture
def log():
    """Lines so far, as they were written."""
    root, own = logging.getLogger(), logging.getLogger("primum")
    before, shown = (root.handlers[:], root.level, own.level), warnings.showwarning
    written = io.StringIO()

    def start(as_json):
        configure(as_json, written)
        return lambda: written.getvalue().splitlines()

    yield start
    root.handlers[:], root.level, own.level = before
    warnings.showwarning = shown


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


@pytest.mark.parametrize("as_json", [True, False])
def test_what_a_library_put_together_itself_is_not_written(log, as_json):
    lines = log(as_json)
    logging.getLogger("pydicom").warning(f"Invalid value for VR UI: {SECRET!r}")
    logging.getLogger("asyncio").error(f"Task exception was never retrieved: ValueError({SECRET!r})")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"Invalid value for VR UI: {SECRET!r}", UserWarning, stacklevel=1)
    written = "\n".join(lines())
    assert SECRET not in written and written.count("test_logs.py:") == 3 and len(lines()) == 3
    assert "pydicom" in written and "asyncio" in written and "UserWarning" in written


def test_libraries_are_heard_only_when_it_is_serious(log):
    lines = log(False)
    logging.getLogger("uvicorn.error").info("Started server process")
    assert lines() == []
