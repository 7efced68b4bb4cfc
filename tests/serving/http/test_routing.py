"""The table of paths, and what a request may say beside its body."""

import asyncio
import json

import msgspec
import pytest

from primum.errors import InputError
from primum.serving.dataplane import DataPlane
from primum.serving.http.app import CLIENT_LEFT, App
from primum.serving.http.connection import LEFT, TASK
from primum.serving.http.responses import HttpError
from primum.serving.http.routing import QUERY, Route, Routes, decoded, parsed_query, schedule_of
from primum.serving.repository import Repository
from primum.serving.security.access import Scope
from primum.serving.security.audit import AuditLog


async def handler(call):
    return None


TABLE = Routes(
    [
        Route("POST", "/v2/models/*/predict", Scope.INFER, "predict", handler),
        Route("GET", "/jobs/*", Scope.OPTIMIZE, "job", handler),
        Route("DELETE", "/jobs/*", Scope.OPTIMIZE, "cancel", handler),
    ]
)


class Body(msgspec.Struct):
    count: int = 0


def test_paths_and_methods():
    found = TABLE.find("POST", ["v2", "models", "risk", "predict"])
    assert found.names == ("risk",) and found.route.what == "predict"
    assert TABLE.find("DELETE", ["jobs", "7"]).route.what == "cancel"
    assert TABLE.find("HEAD", ["jobs", "7"]).route.what == "job"
    for parts in (["jobs"], ["jobs", ""], ["jobs", "7", "x"], ["v2", "models", "risk", "infer"]):
        assert TABLE.find("GET", parts) is None
    with pytest.raises(HttpError, match="GET or DELETE"):
        TABLE.find("POST", ["jobs", "7"])


def test_queries():
    assert schedule_of(parsed_query(b"priority=1&timeout_ms=2.5", QUERY)) == (1, 0.0025)
    assert schedule_of({}) == (0, None)
    for raw in (b"patient=7", b"priority=1&priority=2", b"priority"):
        with pytest.raises(InputError):
            schedule_of(parsed_query(raw, QUERY))
    for given in (
        {"priority": "-1"},
        {"priority": "²"},
        {"timeout_ms": "nan"},
        {"timeout_ms": "inf"},
        {"timeout_ms": "x"},
    ):
        with pytest.raises(InputError):
            schedule_of(given)


def test_bodies():
    assert decoded(b"", Body).count == 0 and decoded(b'{"count": 3}', Body).count == 3
    for body in (b"{", b'{"count": "Quillfeather"}', b"[]", b"\xff\xfe"):
        with pytest.raises(InputError) as found:
            decoded(body, Body)
        assert "Quill" not in str(found.value)


def test_a_client_that_leaves_in_the_middle_is_taken_down(tmp_path):
    """As for inference: the log says that it asked, and that it was gone."""
    audit = AuditLog(tmp_path / "audit.jsonl")
    begun = asyncio.Event()

    async def slow(call):
        call.note.cases = 3
        begun.set()
        await asyncio.sleep(60)

    async def leave():
        app = App(DataPlane(Repository(()), audit=audit), routes=(Route("GET", "/slow", Scope.INFER, "slow", slow),))
        scope = {"type": "http", "path": "/slow", "method": "GET", "headers": [], "query_string": b""}
        task = asyncio.create_task(app(scope, None, None))
        await begun.wait()
        assert scope[TASK] is task
        scope[LEFT] = True  # as the connection says it
        task.cancel()
        await task

    asyncio.run(leave())
    audit.close()
    record = json.loads(audit.path.read_text())
    assert (record["what"], record["cases"], record["status"]) == ("slow", 3, CLIENT_LEFT)
