"""SIGHUP: models, keys and certificates are read anew, whatever else is broken, at any time of the server's life."""

import asyncio
import json
import shutil
import signal
import ssl
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from served import FEATURES, build_artifact, call, coarse_model, free_port, server

from primum.serving.repository import Repository
from primum.serving.security.access import new_key

INFER = "/v2/models/risk/infer"
ASKED = {"inputs": [{"name": "input", "shape": [1, FEATURES], "datatype": "FP32", "data": [0.5] * FEATURES}]}


def wait_for(there, seconds=180):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.05)


def records(audit):
    return [json.loads(line) for line in audit.read_text().splitlines()]


def heard(audit, what, count=1):
    """The statuses of what was read anew."""

    def there():
        return [r["status"] for r in records(audit) if r["who"] == "SIGHUP" and r["what"] == what]

    wait_for(lambda: len(there()) >= count)
    return there()


class Model:
    """Reads itself anew, or fails to."""

    unproven = False
    rung = SimpleNamespace(version="1")

    def __init__(self, name, error=None):
        self.name, self.error, self.reads = name, error, 0

    async def reload(self):
        self.reads += 1
        if self.error is not None:
            raise self.error
        return True


def test_a_model_that_cannot_be_read_keeps_no_other_from_it():
    class RuntimesOwn(Exception):
        pass

    models = [Model("one", RuntimesOwn("Maria Musterfrau")), Model("two"), Model("three", KeyError()), Model("four")]
    ended = asyncio.run(Repository(models).reload())
    assert ended == {"one": "RuntimesOwn", "two": "changed", "three": "KeyError", "four": "changed"}


def test_a_hangup_while_models_are_loaded_is_remembered(tmp_path):
    artifact, port, audit = build_artifact(tmp_path / "artifact"), free_port(), tmp_path / "audit.jsonl"
    command = [sys.executable, "-m", "primum.cli.main", "serve", f"risk={artifact}", "--audit", audit, "--port", port]
    with subprocess.Popen(map(str, command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            for line in process.stdout:
                if "model loaded" in line:
                    break
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: process.poll() is not None or (audit.exists() and records(audit)))
            assert process.poll() is None
            assert [(r["who"], r["what"], r["model"], r["status"]) for r in records(audit)] == [
                ("SIGHUP", "load", "risk", 200)
            ]
        finally:
            process.terminate()
            assert process.wait(30) == 0


def test_models_keys_and_what_is_broken(tmp_path):
    """One server, because its start takes longer than everything here."""
    one, two = build_artifact(tmp_path / "one"), build_artifact(tmp_path / "two")
    file, audit = tmp_path / "keys.yaml", tmp_path / "audit.jsonl"
    (mine, entry), (theirs, other) = new_key("ward-7"), new_key("ris")
    file.write_text(entry + other.removeprefix("keys:\n"))
    arguments = (f"risk={one}", f"other={two}", "--keys", file, "--audit", audit)
    with server(*arguments, give_process=True) as (port, process):

        def status(key):
            return call(port, "POST", INFER, ASKED, {"X-API-Key": key})[0]

        def version():
            return call(port, "GET", "/v2/models/other", None, {"X-API-Key": mine})[2]["versions"]

        assert (status(mine), status(theirs)) == (200, 200)
        before = version()
        (one / "manifest.json").write_text("[]")
        shutil.rmtree(two)
        build_artifact(two, coarse_model())
        file.write_text(entry)
        process.send_signal(signal.SIGHUP)
        assert heard(audit, "load", 2) == [500, 200] and heard(audit, "read keys") == [200]
        assert (status(mine), status(theirs)) == (200, 401), "a revoked key opens nothing"
        assert version() != before, "the model after the broken one was read"

        file.write_text("keys: 3")
        process.send_signal(signal.SIGHUP)
        assert heard(audit, "read keys", 2) == [200, 500] and status(mine) == 200
        file.write_text("keys: []")
        process.send_signal(signal.SIGHUP)
        assert heard(audit, "read keys", 3) == [200, 500, 200] and (status(mine), status("")) == (401, 401)
        process.terminate()
        written = process.stdout.read()
    assert "model 'risk' was not read anew" in written and "keys were not read anew" in written


def test_certificates_are_read_anew_over_both_protocols(tmp_path):
    trustme = pytest.importorskip("trustme")
    grpc = pytest.importorskip("grpc")
    artifact, audit, other = build_artifact(tmp_path / "artifact"), tmp_path / "audit.jsonl", free_port()
    old, new = trustme.CA(), trustme.CA()

    def write(authority):
        made = authority.issue_cert("127.0.0.1")
        made.private_key_pem.write_to_path(tmp_path / "key.pem")
        made.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    clients = {authority: authority.issue_cert("ris.example") for authority in (old, new)}
    write(old)
    options = [
        "--tls-cert",
        tmp_path / "cert.pem",
        "--tls-key",
        tmp_path / "key.pem",
        "--client-ca",
        tmp_path / "ca.pem",
    ]

    def lets_in(port, trusted, client):
        context = ssl.create_default_context(cadata=trusted.cert_pem.bytes().decode())
        clients[client].configure_cert(context)
        return status_over(port, context)

    def grpc_lets_in(trusted, client):
        made = clients[client]
        shown = (trusted.cert_pem.bytes(), made.private_key_pem.bytes(), made.cert_chain_pems[0].bytes())
        with grpc.secure_channel(f"127.0.0.1:{other}", grpc.ssl_channel_credentials(*shown)) as channel:
            try:
                channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=10)
            except grpc.RpcError:
                return False
            return True

    arguments = (f"risk={artifact}", *options, "--grpc-port", other, "--audit", audit)
    with server(*arguments, tls=tmp_path, give_process=True) as (port, process):
        assert lets_in(port, old, old) and not lets_in(port, old, new)
        assert grpc_lets_in(old, old) and not grpc_lets_in(old, new)
        write(new)
        process.send_signal(signal.SIGHUP)
        assert heard(audit, "read certificates") == [200]
        assert lets_in(port, new, new) and not lets_in(port, new, old) and not lets_in(port, old, old)
        assert grpc_lets_in(new, new) and not grpc_lets_in(new, old)
        (tmp_path / "key.pem").write_text("hello")
        process.send_signal(signal.SIGHUP)
        assert heard(audit, "read certificates", 2) == [200, 500]
        assert lets_in(port, new, new) and grpc_lets_in(new, new)


def status_over(port, context):
    """Whether a client is let in: with TLS 1.3 it learns only when it reads that its certificate was refused."""
    import http.client

    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
