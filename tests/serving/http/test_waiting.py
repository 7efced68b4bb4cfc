"""Requests that wait unread in the lobby: on a real socket, of a real server in this process, whose lobby is shut."""

import json
import socket
import ssl
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import uvicorn
from pictures import encoded, picture_artifact
from served import FEATURES, free_port

from primum.config import BatchConfig
from primum.serving import lobby
from primum.serving.dataplane import DataPlane
from primum.serving.http.app import App
from primum.serving.http.connection import connection_class
from primum.serving.http.uploads import Uploads
from primum.serving.limits import Limits
from primum.serving.model import ServedModel
from primum.serving.repository import Repository

ASKED = {"inputs": [{"name": "input", "shape": [1, FEATURES], "datatype": "FP32", "data": [0.0] * FEATURES}]}
LIVE = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"


class Shut(lobby.Lobby):
    """Lets nobody in until it is open."""

    closed = True

    @property
    def _quota(self):
        return 0 if self.closed else 64

    @_quota.setter
    def _quota(self, measured):
        pass


@contextmanager
def shut(artifact, tls=None, **batching):
    """The port, the server, and its plane: nothing that may wait is let in."""
    plane = DataPlane(Repository([ServedModel("risk", (artifact,), BatchConfig(**batching))]))
    plane.lobby = Shut()
    http, port = connection_class(Limits(), plane.lobby), free_port()
    app = App(plane, routes=Uploads(plane).routes())
    secure = {} if tls is None else {"ssl_certfile": tls[0], "ssl_keyfile": tls[1]}
    config = uvicorn.Config(app, port=port, loop="uvloop", http=http, lifespan="on", log_config=None, **secure)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield port, server, plane
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Nobody is turned away because a test was slow, nor let in before `release`."""
    monkeypatch.setattr(lobby, "STANDING_S", 60)
    monkeypatch.setattr(lobby, "LEAST", 0)


@pytest.fixture
def held(artifact):
    with shut(artifact) as made:
        yield made


def request(**parameters):
    body = json.dumps(ASKED | {"parameters": parameters}).encode()
    head = f"POST /v2/models/risk/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Client:
    def __init__(self, port, data, tls=None):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname="127.0.0.1")
        self._file = self._socket.makefile("rb")
        self.send(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()
        self._socket.close()

    def send(self, data):
        self._socket.sendall(data)

    def answer(self):
        """(status, JSON)."""
        head = iter(self._file.readline, b"\r\n")
        status = int(next(head).split()[1])
        length = next(int(line.split()[1]) for line in [*head] if line.lower().startswith(b"content-length:"))
        return status, json.loads(self._file.read(length))

    def ended(self):
        return self._file.read(1) == b""


def until(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def release(plane):
    plane.lobby.closed, lobby.LEAST = False, 16


def test_it_waits_and_is_answered_once_it_is_let_in(held):
    port, _, plane = held
    with Client(port, request()) as client:
        until(lambda: len(plane.lobby) == 1)
        assert b"primum_http_unread_requests 1.0" in plane.metrics()
        release(plane)
        assert client.answer()[0] == 200
    assert not len(plane.lobby) and plane.lobby.turned_away == 0


def test_what_follows_on_its_connection_does_not_overtake_it(held):
    port, _, plane = held
    with Client(port, request()) as client:
        until(lambda: len(plane.lobby) == 1)
        client.send(LIVE)
        status, told = client.answer()
        assert status == 200 and told["model_name"] == "risk"
        assert client.answer() == (200, {"live": True})
        # What waits now is another request than the one that the lobby still knows of.
        client.send(request())
        until(lambda: len(plane.lobby) == 2)
        release(plane)
        assert client.answer()[0] == 200


def test_what_may_not_be_turned_away_does_not_wait(held):
    port, _, _ = held
    for data in (LIVE, request(priority=1)):
        with Client(port, data) as client:
            assert client.answer()[0] == 200


def test_a_client_that_leaves_while_it_waits_is_forgotten(held):
    port, server, plane = held
    with Client(port, request()):
        until(lambda: len(plane.lobby) == 1)
    until(lambda: not server.server_state.connections)
    release(plane)
    until(lambda: not len(plane.lobby))
    assert not plane.ended and plane.lobby.turned_away == 0


def test_what_waits_when_the_server_ends_is_answered(artifact):
    with shut(artifact) as (port, server, plane), Client(port, request()) as client:
        until(lambda: len(plane.lobby) == 1)
        server.should_exit = True
        assert client.answer()[0] == 200
        assert client.ended()


@pytest.mark.parametrize(("timeout_ms", "status"), [(100, 504), (10_000, 200)])
def test_its_time_runs_while_it_waits(held, timeout_ms, status):
    port, _, plane = held
    with Client(port, request(timeout=timeout_ms * 1000)) as client:
        until(lambda: len(plane.lobby) == 1)
        time.sleep(0.15)
        release(plane)
        assert client.answer()[0] == status


def test_the_models_default_time_runs_while_it_waits(artifact):
    with shut(artifact, request_timeout_ms=100) as (port, _, plane), Client(port, request()) as client:
        until(lambda: len(plane.lobby) == 1)
        time.sleep(0.15)
        release(plane)
        assert client.answer()[0] == 504


@pytest.mark.parametrize(("query", "batching"), [("?timeout_ms=300", {}), ("", {"request_timeout_ms": 300})])
def test_the_time_of_an_image_runs_while_it_waits(tmp_path, query, batching):
    image = encoded(np.zeros((40, 30), np.uint8))
    kind = f"host: x\r\ncontent-type: image/png\r\ncontent-length: {len(image)}\r\n\r\n"
    data = f"POST /v2/models/risk/predict{query} HTTP/1.1\r\n{kind}".encode() + image
    with shut(picture_artifact(tmp_path / "chest"), **batching) as (port, _, plane), Client(port, data) as client:
        until(lambda: len(plane.lobby) == 1)
        time.sleep(0.4)
        release(plane)
        assert client.answer()[0] == 504
        # It is not too short for one that does not wait.
        client.send(data.replace(b"timeout_ms=300", b"timeout_ms=9000"))
        assert client.answer()[0] == 200


def test_it_waits_over_tls_too_and_what_follows_does_not_overtake_it(artifact, tmp_path):
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    made.cert_chain_pems[0].write_to_path(certificate)
    made.private_key_pem.write_to_path(key)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with shut(artifact, (certificate, key)) as (port, _, plane), Client(port, request(), trusting) as client:
        until(lambda: len(plane.lobby) == 1)
        client.send(LIVE)
        assert client.answer()[1]["model_name"] == "risk" and client.answer() == (200, {"live": True})
        client.send(request())
        until(lambda: len(plane.lobby) == 2)
        release(plane)
        assert client.answer()[0] == 200


def test_who_waited_too_long_is_refused_and_may_ask_again(held, monkeypatch):
    monkeypatch.setattr(lobby, "STANDING_S", 0.1)
    port, server, plane = held
    with Client(port, request()) as client:
        status, told = client.answer()
        assert status == 503 and "not read" in told["error"] and plane.lobby.turned_away == 1
        (connection,) = server.server_state.connections
        assert connection.timeout_keep_alive_task is not None, "it is not kept for ever"
        release(plane)
        client.send(request())
        assert client.answer()[0] == 200


TOO_LONG = f"POST /v2/models/{70_000 * 'a'}/infer HTTP/1.1\r\ncontent-length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("follows", [b"", LIVE])
def test_one_that_turns_out_to_be_faulty_is_refused_once_and_keeps_nobody_waiting(held, follows):
    port, _, plane = held
    with Client(port, TOO_LONG) as faulty, Client(port, request()) as client:
        until(lambda: len(plane.lobby) == 2)
        faulty.send(follows)
        release(plane)
        assert client.answer()[0] == 200
        assert faulty.answer()[0] == 414 and faulty.ended()
