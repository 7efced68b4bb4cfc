"""Models loaded and unloaded while the server serves: by clients that others wrote, by signal, and written down."""

import asyncio
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from served import FEATURES, build_artifact, call, coarse_model, free_port, server
from torch import nn

import primum
from primum.config import BatchConfig
from primum.serving.executor.isolation import Isolation
from primum.serving.executor.placement import Hosting
from primum.serving.model import ServedModel
from primum.serving.repository import Repository
from primum.serving.security.access import Scope, new_key
from primum.serving.security.audit import verify_audit

ROWS = np.random.default_rng(1).normal(0, 1, (5, FEATURES)).astype(np.float32)
ONE = {"name": "input", "shape": [5, FEATURES], "datatype": "FP32", "data": ROWS.ravel().tolist()}
INFER = "/v2/models/risk/infer"


@pytest.fixture
def other(tmp_path):
    return build_artifact(tmp_path / "other", coarse_model())


@pytest.fixture
def mine(artifact, tmp_path):
    return shutil.copytree(artifact, tmp_path / "mine")


def expected(folder):
    with primum.load(folder) as predictor:
        return predictor.predict_tensor(ROWS)


def answered(port):
    status, _, answer = call(port, "POST", INFER, {"inputs": [ONE]})
    assert status == 200, answer
    return np.reshape(answer["outputs"][0]["data"], (5, 2))


def replace(folder, new):
    shutil.rmtree(folder)
    shutil.copytree(new, folder)


def test_tritonclient_unloads_and_loads(mine, other, artifact):
    triton = pytest.importorskip("tritonclient.http")
    with (
        server(f"risk={mine}", f"stays={artifact}") as port,
        triton.InferenceServerClient(f"127.0.0.1:{port}") as client,
    ):
        assert [one["state"] for one in client.get_model_repository_index()] == ["READY", "READY"]
        client.unload_model("risk")
        listed = {one["name"]: one for one in client.get_model_repository_index()}
        assert listed["risk"] == {"name": "risk", "version": "", "state": "UNAVAILABLE", "reason": "unloaded"}
        assert not client.is_model_ready("risk") and client.is_model_ready("stays") and client.is_server_ready()
        assert call(port, "POST", INFER, {"inputs": [ONE]})[0] == 404
        client.unload_model("risk")
        client.load_model("risk")
        np.testing.assert_allclose(answered(port), expected(mine), atol=1e-6)
        replace(mine, other)
        client.load_model("risk")
        np.testing.assert_allclose(answered(port), expected(other), atol=1e-6)
        with pytest.raises(triton.InferenceServerException, match="there are: risk, stays"):
            client.load_model("none")
        with pytest.raises(triton.InferenceServerException, match="operator"):
            client.load_model("risk", config="{}")


def test_a_broken_artifact_is_not_loaded_and_the_old_one_answers(mine):
    with server(f"risk={mine}") as port:
        before = answered(port)
        (mine / "model" / "model.onnx").write_bytes(b"broken")
        status, _, answer = call(port, "POST", "/v2/repository/models/risk/load")
        assert status == 500 and "model.onnx" in answer["error"]
        np.testing.assert_array_equal(answered(port), before)


def test_grpc_faces(mine):
    triton = pytest.importorskip("tritonclient.grpc")
    port = free_port()
    with server(f"risk={mine}", "--grpc-port", port), triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        client.unload_model("risk")
        assert client.get_model_repository_index().models[0].state == "UNAVAILABLE"
        with pytest.raises(triton.InferenceServerException, match="no model of that name"):
            client.get_model_metadata("risk")
        client.load_model("risk")
        assert client.is_model_ready("risk")


def test_only_administrators_change_what_is_served_and_it_is_written_down(mine, tmp_path):
    keys, entries = {}, []
    for name, scope in (("ward", Scope.INFER), ("admin", Scope.ADMIN)):
        keys[name], entry = new_key(name, (scope,))
        entries.append(entry.removeprefix("keys:\n"))
    (tmp_path / "keys.yaml").write_text("keys:\n" + "".join(entries))
    log = tmp_path / "audit.jsonl"
    with server(f"risk={mine}", "--keys", tmp_path / "keys.yaml", "--audit", log) as port:
        for headers, wanted in (({}, 401), ({"X-API-Key": keys["ward"]}, 403), ({"X-API-Key": keys["admin"]}, 200)):
            for path in ("index", "models/risk/load", "models/risk/unload"):
                assert call(port, "POST", f"/v2/repository/{path}", None, headers)[0] == wanted
    verify_audit(log)
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(r["who"], r["what"], r["status"]) for r in records] == [
        (who, what, status)
        for who, status in (("", 401), ("", 403), ("admin", 200))
        for what in ("index", "load", "unload")
    ]
    assert records[7]["model"] == "risk" and len(records[7]["sha256"]) == 64


def test_a_hangup_reads_everything_anew(mine, other, tmp_path):
    log = tmp_path / "audit.jsonl"
    with server(f"risk={mine}", "--audit", log, give_process=True) as (port, process):
        replace(mine, other)
        process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 20
        while not np.allclose(answered(port), expected(other), atol=1e-6):
            assert time.monotonic() < end
            time.sleep(0.1)
    assert any(json.loads(line)["who"] == "SIGHUP" for line in log.read_text().splitlines())


def processes():
    """Those that this process has started and not yet ended."""
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    found = [int(pid) for path in children for pid in path.read_text().split()]
    return {pid for pid in found if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"}


def lived(folder, ask):
    """What `ask` returns of a started repository that holds `risk` in a process of its own."""

    def opened(name):
        return ServedModel(name, [folder], BatchConfig(), hosting=Hosting(Isolation.ALWAYS))

    async def live():
        repository = Repository([opened("risk")], opened)
        await repository.start()
        try:
            return await ask(repository)
        finally:
            await repository.stop()

    return asyncio.run(live())


async def left(change, after):
    """Begin a change, and leave before it has ended."""
    task = asyncio.ensure_future(change)
    await asyncio.sleep(after)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_who_leaves_while_a_model_is_loaded_leaves_nothing_open(mine):
    async def ask(repository):
        await repository.unload("risk")
        before = processes()
        await left(repository.load("risk"), 0.05)
        await left(repository.load("risk"), 0.05)
        await repository.load("risk")
        return repository.ready, processes() - before

    ready, made = lived(mine, ask)
    assert ready and len(made) == 1 and not made & processes()


def test_who_leaves_while_a_model_is_read_anew_or_released_does_not_stop_it(mine, other):
    async def ask(repository):
        versions, opened = [repository.get("risk").rung.version], []
        for folder in (other, other.parent / "third"):
            replace(mine, folder)
            await left(repository.load("risk"), 0.001)
            end = time.monotonic() + 20
            while repository.get("risk").rung.version in versions:
                assert time.monotonic() < end
                await asyncio.sleep(0.01)
            versions.append(repository.get("risk").rung.version)
            opened.append(len(repository.get("risk")._executor._wanted))
        await left(repository.unload("risk"), 0)
        await repository.unload("risk")
        return versions, opened, repository.get("risk")

    build_artifact(other.parent / "third", nn.Sequential(coarse_model(), nn.Tanh()))
    before = processes()
    versions, opened, gone = lived(mine, ask)
    assert len(set(versions)) == 3 and opened == [1, 1] and gone is None and processes() <= before


def test_a_load_that_fails_when_who_asked_has_left_is_told_in_the_log(mine, caplog):
    async def ask(repository):
        (mine / "model" / "model.onnx").write_bytes(b"broken")
        await left(repository.load("risk"), 0)

    with caplog.at_level("ERROR", "primum.serving"):
        lived(mine, ask)
    assert "'risk' could not be loaded" in caplog.text and "model.onnx" in caplog.text


@pytest.mark.parametrize(
    "name", ["RepositoryIndexResponse", "RepositoryModelLoadRequest", "RepositoryModelUnloadRequest"]
)
def test_messages_are_those_of_the_client(name):
    service_pb2 = pytest.importorskip("tritonclient.grpc.service_pb2")
    from primum.serving.grpc.messages import message

    ours, theirs = message(name).DESCRIPTOR, getattr(service_pb2, name).DESCRIPTOR
    assert [(f.name, f.number, f.type) for f in ours.fields] == [(f.name, f.number, f.type) for f in theirs.fields]
