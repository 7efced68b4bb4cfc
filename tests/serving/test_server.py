"""What the server refuses to do, whom it lets in, what it takes down, and how it ends."""

import asyncio
import http.client
import json
import signal
import socket
import ssl
import threading
import time

import numpy as np
import pytest
from served import FEATURES, call, free_port, server
from shell import primum

from primum.serving.http.app import App
from primum.serving.http.connection import LEFT
from primum.serving.security.access import ANYBODY, Access, new_key
from primum.serving.security.audit import verify_audit

INFER = "/v2/models/risk/infer"
ASKED = {
    "id": "a1",
    "inputs": [{"name": "input", "shape": [1, FEATURES], "datatype": "FP32", "data": [0.5] * FEATURES}],
}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--host", "0.0.0.0"], "nobody is authenticated"),
        (["--host", "0.0.0.0", "--keys", "{keys}"], "clear text"),
        (["--tls-cert", "{keys}"], "go together"),
        (["--client-ca", "{keys}"], "takes --tls-cert"),
        (["--keys", "{keys}.none"], "cannot read the keys"),
        (["--keys", "{keys}.empty"], "holds no key"),
    ],
)
def test_unsafe_options_are_refused(artifact, tmp_path, given, said):
    (tmp_path / "keys.yaml").write_text(new_key("ward-7")[1])
    (tmp_path / "keys.yaml.empty").write_text("keys: []\n")
    done = primum("serve", artifact, *(text.format(keys=tmp_path / "keys.yaml") for text in given))
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("given", [("a={0}", "a={0}"), ("{0}/model",), ()])
def test_unusable_artifacts_end_in_one_line(artifact, given):
    done = primum("serve", *(text.format(artifact) for text in given))
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_callers_are_recognised_and_what_they_ask_is_taken_down(artifact, tmp_path):
    done = primum("serve", "--new-key", "ward-7")
    key, entry = done.stdout.splitlines()[0], done.stdout.split("--keys:\n\n")[1]
    (tmp_path / "keys.yaml").write_text(entry)
    mine = {"Authorization": f"Bearer {key}"}
    with server(f"risk={artifact}", "--keys", tmp_path / "keys.yaml", "--audit", tmp_path / "audit.jsonl") as port:
        status, headers, answer = call(port, "POST", INFER, ASKED)
        assert status == 401 and headers["www-authenticate"] == "Bearer" and answer["error"]
        assert call(port, "POST", INFER, ASKED, mine)[0] == 200
        assert call(port, "POST", INFER, {"inputs": []}, mine)[0] == 400
        assert call(port, "GET", "/metrics", None, mine)[0] == 403
        assert call(port, "GET", "/v2/models/risk")[0] == 401
        assert call(port, "GET", "/v2/health/ready")[0] == 200, "probes show no key"
    assert verify_audit(tmp_path / "audit.jsonl").records == 3
    records = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(r["who"], r["status"], r["id"], r["cases"]) for r in records] == [
        ("", 401, "", 0), ("ward-7", 200, "a1", 1), ("ward-7", 400, "", 0),
    ]  # fmt: skip
    assert len(records[1]["sha256"]) == 64 and "0.5" not in json.dumps(records), "no payload"


def test_what_cannot_be_taken_down_is_not_answered(artifact, small_disk):
    with server(f"risk={artifact}", "--audit", small_disk / "audit.jsonl") as port:
        (small_disk / "filler").write_bytes(b"x" * (256 * 1024 - 24 * 1024))
        statuses = set()
        for _ in range(4000):
            status, _, answer = call(port, "POST", INFER, ASKED)
            statuses.add(status)
            if status != 200:
                break
        assert statuses == {200, 503} and "audit log" in answer["error"]
        (small_disk / "filler").unlink()
        wait_for(lambda: call(port, "POST", INFER, ASKED)[0] == 200)
    assert verify_audit(small_disk / "audit.jsonl").records >= 2


def test_requests_here_are_answered_before_the_end(artifact):
    connections = [http.client.HTTPConnection("127.0.0.1", 0, timeout=30) for _ in range(8)]
    answers = []

    def ask(connection):
        connection.request("POST", INFER, json.dumps(many))
        answers.append(connection.getresponse().status)

    rows = np.zeros((20_000, FEATURES))
    many = {
        "inputs": [{"name": "input", "shape": [20_000, FEATURES], "datatype": "FP32", "data": rows.ravel().tolist()}]
    }
    with server(f"risk={artifact}") as port:
        for connection in connections:
            connection.port = port
        threads = [threading.Thread(target=ask, args=(c,)) for c in connections[:2]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert answers == [200, 200]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, and what it signed for the server and for a client."""
    trustme = pytest.importorskip("trustme")
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    for name, identity in (("server", "127.0.0.1"), ("client", "ris@hospital.example"), ("pacs", "x@y.example")):
        made = authority.issue_cert(identity, common_name="pacs.example" if name == "pacs" else None)
        made.private_key_pem.write_to_path(folder / f"{name}.key")
        made.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return folder


def wait_for(there, seconds=10):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_with_tls_only_those_with_a_certificate_are_let_in(artifact, certificates):
    options = ["--tls-cert", certificates / "server.pem", "--tls-key", certificates / "server.key"]
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    with server(f"risk={artifact}", *options, "--client-ca", certificates / "ca.pem", tls=certificates) as port:
        with pytest.raises(OSError):
            https(port, context)
        context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
        assert https(port, context) == 200
        with pytest.raises((OSError, http.client.HTTPException)):
            call(port, "GET", "/v2/health/ready")


def test_a_certificate_names_its_holder_over_both_protocols(artifact, certificates, tmp_path):
    grpc = pytest.importorskip("grpc")
    from primum.serving.grpc.messages import message

    (tmp_path / "keys.yaml").write_text("keys: [{certificate: pacs.example, scopes: [infer, metrics]}]")
    options = ["--tls-cert", certificates / "server.pem", "--tls-key", certificates / "server.key"]
    options += ["--client-ca", certificates / "ca.pem", "--keys", tmp_path / "keys.yaml"]
    audit, other = tmp_path / "audit.jsonl", free_port()
    with server(f"risk={artifact}", *options, "--audit", audit, "--grpc-port", other, tls=certificates) as port:
        for name, metrics in (("client", 403), ("pacs", 200)):
            context = ssl.create_default_context(cafile=certificates / "ca.pem")
            context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
            assert https(port, context, "/metrics") == metrics
            assert https(port, context, INFER, json.dumps(ASKED)) == 200
            assert https(port, context, "/v2/repository/models/risk/unload", "{}") == 403
            files = ("ca.pem", f"{name}.key", f"{name}.pem")
            shown = grpc.ssl_channel_credentials(*((certificates / file).read_bytes() for file in files))
            with grpc.secure_channel(f"127.0.0.1:{other}", shown) as channel:
                with pytest.raises(grpc.RpcError) as denied:
                    channel.unary_unary(
                        "/inference.GRPCInferenceService/RepositoryModelUnload",
                        request_serializer=message("RepositoryModelUnloadRequest").SerializeToString,
                    )(message("RepositoryModelUnloadRequest")(model_name="risk"), timeout=20)
                assert denied.value.code() == grpc.StatusCode.PERMISSION_DENIED
    records = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [(r["who"], r["what"]) for r in records] == [
        (who, what)
        for name in ("ris@hospital.example", "pacs.example")
        for who, what in ((name, "infer"), ("", "unload"), ("", "unload"))
    ]


def test_certificates_are_listed_only_where_they_are_asked_for(artifact, tmp_path):
    (tmp_path / "keys.yaml").write_text("keys: [{certificate: pacs.example}]")
    done = primum("serve", artifact, "--keys", tmp_path / "keys.yaml")
    assert done.returncode == 2 and "--client-ca" in done.stderr and done.stderr.count("\n") == 1


def https(port, context, path="/v2/health/ready", body=None):
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    try:
        connection.request("GET" if body is None else "POST", path, body, {"content-type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_two_models_side_by_side(artifact):
    with server(f"one={artifact}", f"two={artifact}") as port:
        for name in ("one", "two"):
            assert call(port, "GET", f"/v2/models/{name}")[2]["name"] == name


def test_it_ends_well_when_asked_to(artifact):
    with server(f"risk={artifact}", give_process=True) as (port, process):
        assert call(port, "POST", INFER, ASKED)[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_the_log_warns_of_an_unproven_model_when_it_is_loaded_and_read_anew(artifact, unproven):
    with server(f"risk={artifact}", f"inc={unproven}", "--log-format", "json", give_process=True) as (port, process):
        assert call(port, "POST", "/v2/repository/models/inc/load")[0] == 200
        process.send_signal(signal.SIGTERM)
        lines = [json.loads(line) for line in process.stdout.read().splitlines()]
    first, second = (line for line in lines if line["event"] == "model loaded")
    assert first["level"] == "info" and "UNPROVEN" not in str(first)
    assert second["model"] == "inc" and second["level"] == "warning"
    assert second["warning"].startswith("UNPROVEN: nothing shows that") and second["verdict"] == "INCONCLUSIVE"
    (anew,) = (line for line in lines if "read anew" in line["event"])
    assert "UNPROVEN" in anew["event"]


def test_what_was_sent_whole_when_the_server_ends_is_answered(artifact):
    ended, answered, body = [], set(), json.dumps(ASKED).encode()
    whole = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body

    def ask(connection, number):
        """One request after another until the connection is closed, as the answer says."""
        try:
            while True:
                connection.sendall(whole)
                got = b""
                while not got.endswith(b"}"):
                    part = connection.recv(65536)
                    assert part, "closed without an answer"
                    got += part
                assert got.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503"))
                answered.add(number)
                if b"connection: close" in got:
                    ended.append("told")
                    return
        except (AssertionError, OSError) as error:
            ended.append(repr(error))

    with server(f"risk={artifact}", give_process=True) as (port, process):
        connections = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(8)]
        asking = [threading.Thread(target=ask, args=(c, k)) for k, c in enumerate(connections)]
        for one in asking:
            one.start()
        wait_for(lambda: len(answered) == 8, 60)
        process.send_signal(signal.SIGTERM)
        for one in asking:
            one.join()
        assert process.wait(30) == 0
    assert ended == ["told"] * 8


class Waiting:
    """A data plane whose model never answers."""

    input_shape = (2,)

    def __init__(self):
        self.ended, self.access = [], Access()

    def check_log(self):
        pass

    def admit(self, authorization, api_key, wanted, certificate):
        return ANYBODY

    def model(self, name, version=""):
        return self

    async def infer(self, inputs, priority, timeout_s):
        await asyncio.sleep(60)

    def take_down(self, who, model, rung, request, status):
        self.ended.append((who, request.id, status))


@pytest.mark.parametrize(("left", "status"), [(False, 503), (True, 499)])
def test_whom_the_server_cannot_answer_at_its_end_is_told_and_taken_down_so(left, status):
    plane, sent = Waiting(), []
    scope = {"type": "http", "method": "POST", "path": INFER, "headers": [], "query_string": b""}

    async def receive():
        return {"body": json.dumps(ASKED).encode()}

    async def send(message):
        sent.append(message)

    async def cancelled():
        task = asyncio.ensure_future(App(plane)(scope, receive, send))
        await asyncio.sleep(0.01)
        if left:
            scope[LEFT] = True
        task.cancel()
        await task

    asyncio.run(cancelled())
    assert plane.ended == [("anybody", "a1", status)]
    assert left or (sent[0]["status"] == 503 and "ended" in json.loads(sent[1]["body"])["error"])
    assert not (left and sent)


def test_an_idle_client_over_tls_does_not_delay_the_end(artifact, certificates):
    tls = ["--tls-cert", certificates / "server.pem", "--tls-key", certificates / "server.key"]
    with server(f"risk={artifact}", *tls, tls=certificates, give_process=True) as (port, process):
        context = ssl.create_default_context(cafile=certificates / "ca.pem")
        idle = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
        idle.request("GET", "/v2")
        idle.getresponse().read()
        start = time.monotonic()
        process.terminate()
        assert process.wait(40) == 0 and time.monotonic() - start < 25
        idle.close()
