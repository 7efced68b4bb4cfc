"""Clients that are slow, too many, garbled or gone, on a real socket."""

import contextlib
import json
import socket
import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import FEATURES, build_artifact, call, server
from torch import nn

INFER = "/v2/models/risk/infer"
BODY = json.dumps(
    {"inputs": [{"name": "input", "shape": [1, FEATURES], "datatype": "FP32", "data": [0.0] * FEATURES}]}
).encode()


@pytest.fixture(scope="module")
def strict(artifact):
    """A server that waits a second for a request, and takes eight connections."""
    with server(f"risk={artifact}", "--arrival-s", 1, "--max-connections", 8) as port:
        yield port


def opened(port):
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def answer(connection):
    """(status, JSON) of the first answer that comes."""
    sent = b""
    while b"\r\n\r\n" not in sent:
        part = connection.recv(65536)
        if not part:
            return None
        sent += part
    head, _, body = sent.partition(b"\r\n\r\n")
    length = next(int(line[16:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: "))
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split()[1]), json.loads(body)


def head(path=INFER, body=BODY):
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n".encode()


@pytest.mark.parametrize("sent", [b"", b"POST /v2/mod", head(), head() + b"\r\n" + BODY[:40]])
def test_a_request_that_does_not_arrive_ends_with_408_and_harms_nobody(strict, sent):
    with opened(strict) as slow:
        slow.sendall(sent)
        start = time.monotonic()
        assert call(strict, "POST", INFER, BODY)[0] == 200
        status, told = answer(slow)
        assert status == 408 and "to arrive" in told["error"] and time.monotonic() - start < 5
        assert slow.recv(1) == b""


def test_a_request_that_trickles_is_cut_off_though_each_byte_is_quick(strict):
    with opened(strict) as slow:
        slow.sendall(head() + b"\r\n")
        ended = None
        for byte in BODY:
            try:
                slow.sendall(bytes([byte]))
            except OSError:
                break
            slow.settimeout(0.05)
            try:
                ended = answer(slow)
                break
            except TimeoutError:
                continue
        assert ended is None or ended[0] == 408


def test_a_connection_that_is_used_slowly_but_whole_is_kept(strict):
    with opened(strict) as kept:
        for _ in range(3):
            kept.sendall(head() + b"\r\n" + BODY)
            assert answer(kept)[0] == 200
            time.sleep(0.7)


def test_too_many_connections_are_turned_away_with_a_word(strict):
    held = []
    try:
        for _ in range(8):
            held.append(opened(strict))
        time.sleep(0.2)
        with opened(strict) as late:
            status, told = answer(late)
        assert status == 503 and "more than 8" in told["error"]
    finally:
        for one in held:
            one.close()
    time.sleep(0.2)
    assert call(strict, "POST", INFER, BODY)[0] == 200


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=200))
def test_bytes_that_are_no_http_get_an_error_text_or_a_closed_connection(strict, sent):
    with opened(strict) as garbled:
        garbled.sendall(sent + b"\r\n\r\n")
        garbled.shutdown(socket.SHUT_WR)
        got = answer(garbled)
        if got is not None:
            assert 400 <= got[0] < 500 and got[1]["error"]


def all_that_comes(connection):
    """Until the server hangs up."""
    got = b""
    while part := connection.recv(65536):
        got += part
    return got


def statuses(got):
    return [int(part[:3]) for part in got.split(b"HTTP/1.1 ")[1:]]


START = b"GET /v2 HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (b"GET /" + b"a" * 2**15 + b" HTTP/1.1\r\n\r\n", 414, "16384 bytes"),
        (b"GET /" + b"a" * 2**19, 414, "16384 bytes"),
        (START + b"x: y\r\n" * 20_000 + b"\r\n", 431, "65536 bytes"),
        (START + b"x: " + b"a" * 2**17 + b"\r\n\r\n", 431, "65536 bytes"),
        (START + b"x: " + b"a" * 2**19, 431, "65536 bytes"),
    ],
)
def test_a_head_that_is_too_large_is_refused_and_not_kept(strict, sent, status, said):
    with opened(strict) as greedy:
        # The server may hang up before it has all.
        with contextlib.suppress(ConnectionError):
            greedy.sendall(sent)
        with contextlib.suppress(ConnectionError):
            got = answer(greedy)
            assert got is not None and got[0] == status and said in got[1]["error"]
    assert call(strict, "POST", INFER, BODY)[0] == 200


@pytest.mark.parametrize("after", [b"1;", b"1\r\na\r\n0\r\nx: "])
def test_a_trailer_or_an_extension_that_does_not_end_is_refused(strict, after):
    chunked = head().replace(b"content-length: " + str(len(BODY)).encode(), b"transfer-encoding: chunked")
    with opened(strict) as greedy, contextlib.suppress(ConnectionError):
        with contextlib.suppress(ConnectionError):
            greedy.sendall(chunked + b"\r\n" + after + b"a" * 2**19)
        assert answer(greedy)[0] == 431


def test_a_large_head_within_the_limits_is_served(strict):
    status, _, _ = call(strict, "POST", INFER, BODY, {f"x-{k}": "a" * 7000 for k in range(8)})
    assert status == 200


def test_requests_before_bytes_that_are_none_have_their_own_answers(strict):
    whole = head() + b"\r\n" + BODY
    with opened(strict) as garbled:
        garbled.sendall(whole + whole + b"GARBAGE\r\n\r\n" + whole)
        got = all_that_comes(garbled)
    assert statuses(got) == [200, 200, 400] and got.count(b'"model_name"') == 2 and b"no HTTP/1.1" in got


def test_a_request_before_one_that_does_not_arrive_has_its_own_answer(strict):
    whole = head() + b"\r\n" + BODY
    for half in (head(), head() + b"\r\n" + BODY[:40]):
        with opened(strict) as slow:
            slow.sendall(whole + half)
            assert statuses(all_that_comes(slow)) == [200, 408]


class _Slow(nn.Module):
    """Some 50 ms a case."""

    def forward(self, x):
        y = x[:, :1].expand(-1, 512)
        for _ in range(60):
            y = torch.tanh(y @ torch.ones(512, 512) * 1e-3)
        return y[:, :1] + x[:, :1]


def test_a_client_that_leaves_takes_its_request_out_of_the_queue(tmp_path):
    folder = build_artifact(tmp_path / "slow", _Slow(), (4,))
    body = json.dumps({"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [0.0] * 4}]}).encode()
    with server(f"slow={folder}", "--max-batch-size", 1, "--audit", tmp_path / "audit.jsonl") as port:
        gone = [opened(port) for _ in range(20)]
        for one in gone:
            one.sendall(head("/v2/models/slow/infer", body) + b"\r\n" + body)
        time.sleep(0.01)
        for one in gone:
            one.close()
        status, _, _ = call(port, "POST", "/v2/models/slow/infer", body)
        text = call(port, "GET", "/metrics")[2].decode()
    assert status == 200
    counted = {
        line.split('reason="')[1].split('"')[0]: float(line.split()[-1])
        for line in text.splitlines()
        if line.startswith("primum_inference_requests_total")
    }
    # One may leave before its request is in the queue, or when it is answered already.
    assert counted["by_caller"] >= 1 and 20 <= sum(counted.values()) <= 21
    statuses = [json.loads(line)["status"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert len(statuses) == 21 and statuses.count(499) >= counted["by_caller"]
    assert np.isin(statuses, [200, 499]).all()


def test_a_head_alone_is_sent_and_the_connection_goes_on(strict):
    with opened(strict) as client:
        client.sendall(b"HEAD /v2 HTTP/1.1\r\nhost: x\r\n\r\n")
        got = client.recv(65536)
        assert got.startswith(b"HTTP/1.1 200 ") and got.endswith(b"\r\n\r\n")
        client.sendall(head() + b"\r\n" + BODY)
        assert answer(client)[0] == 200


def test_who_waits_to_send_a_body_is_told_to_go_on(strict):
    with opened(strict) as client:
        client.sendall(head() + b"expect: 100-continue\r\n\r\n")
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(BODY)
        assert answer(client)[0] == 200
