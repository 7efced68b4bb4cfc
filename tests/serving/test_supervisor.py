"""Several servers on one port: all of them answer, one that ends is replaced, and they end together."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import FEATURES, build_artifact, call, coarse_model, free_port, server
from shell import command, environ, primum

from primum.serving.security.access import Scope, new_key
from primum.serving.security.audit import verify_audit

INFER = "/v2/models/risk/infer"
ASKED = {"inputs": [{"name": "input", "shape": [1, FEATURES], "datatype": "FP32", "data": [0.5] * FEATURES}]}


def wait_for(there, seconds=60):
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.05)


def told(port, name, headers=None):
    """The values of a metric by worker, those of other labels added."""
    text = call(port, "GET", "/metrics", None, headers)[2].decode()
    found = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                found[sample.labels["worker"]] += sample.value
    return dict(found)


def all_up(port, headers=None):
    wait_for(lambda: told(port, "primum_worker_up", headers) == {"1": 1, "2": 1})


def pids(process):
    """Of the workers, by their parent; in the order in which they were started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return sorted(int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())


def ask_a_while(port, until):
    """Statuses of requests on many connections, each kept and made anew where it breaks; "broken" where one did."""

    def one(_):
        found, connection = Counter(), http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not until():
            try:
                connection.request("POST", INFER, json.dumps(ASKED))
                answer = connection.getresponse()
                answer.read()
                found[answer.status] += 1
            except (OSError, http.client.HTTPException):
                found["broken"] += 1
                connection.close()
        connection.close()
        return found

    with ThreadPoolExecutor(16) as pool:
        return sum(pool.map(one, range(16)), Counter())


def test_all_answer_on_one_port_and_each_takes_down_its_own(artifact, tmp_path):
    given = (f"risk={artifact}", "--workers", "2", "--audit", tmp_path / "audit.jsonl")
    with server(*given, give_process=True) as (port, process):
        all_up(port)
        found, by_worker = Counter(), {"1": 0, "2": 0}
        # Connections come to either by chance.
        while min(by_worker.values()) == 0:
            end = time.monotonic() + 1
            found += ask_a_while(port, lambda end=end: time.monotonic() > end)
            by_worker = told(port, "primum_inference_requests_total")
        assert set(found) == {200} and sum(by_worker.values()) == found[200]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    for number in (1, 2):
        path = tmp_path / f"audit-{number}.jsonl"
        records = [json.loads(line)["what"] for line in path.read_text().splitlines()]
        assert verify_audit(path).records == len(records)
        assert records.count("infer") == by_worker[str(number)]


def test_a_worker_that_is_killed_is_replaced_while_the_other_answers(artifact):
    with server(f"risk={artifact}", "--workers", "2", give_process=True) as (port, process):
        all_up(port)
        killed = pids(process)[1]
        started = time.monotonic()

        threading.Timer(1, os.kill, (killed, signal.SIGKILL)).start()
        found = ask_a_while(port, lambda: time.monotonic() - started > 3)
        # What was under way on the killed one's connections is lost, and nothing else.
        assert set(found) <= {200, "broken"} and found["broken"] <= 16 < found[200]
        all_up(port)
        assert told(port, "primum_worker_restarts_total") == {"1": 0, "2": 1}


@pytest.mark.parametrize("last", [signal.SIGKILL, signal.SIGINT])
def test_however_the_supervisor_ends_nothing_is_left(artifact, tmp_path, monkeypatch, last):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with server(f"risk={artifact}", "--workers", "2", give_process=True) as (port, process):
        all_up(port)
        workers = pids(process)
        assert len(workers) == 2 and len(list(tmp_path.glob("primum-*"))) == 1
        process.send_signal(last)
        wait_for(lambda: not any(alive(pid) for pid in workers), 30)
        with pytest.raises(ConnectionRefusedError):
            call(port, "GET", "/v2/health/live")
        wait_for(lambda: not list(tmp_path.iterdir()))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_all_read_keys_and_artifacts_anew(artifact, tmp_path):
    folder = tmp_path / "artifact"
    shutil.copytree(artifact, folder)
    coarse = build_artifact(tmp_path / "coarse", coarse_model())
    scopes = (Scope.INFER, Scope.METRICS)
    (first, entry), (second, other) = new_key("ward-7", scopes), new_key("ward-8", scopes)
    (tmp_path / "keys.yaml").write_text(entry)
    given = (f"risk={folder}", "--workers", "2", "--keys", tmp_path / "keys.yaml")
    with server(*given, give_process=True) as (port, process):
        before, now = ({"Authorization": f"Bearer {key}"} for key in (first, second))
        all_up(port, before)
        (old,) = call(port, "GET", "/v2/models/risk", None, before)[2]["versions"]
        (tmp_path / "keys.yaml").write_text(other)
        shutil.rmtree(folder)
        shutil.copytree(coarse, folder)
        process.send_signal(signal.SIGHUP)

        def seen():
            answers = [call(port, "GET", "/v2/models/risk", None, now) for _ in range(20)]
            return {answer["versions"][0] if status == 200 else status for status, _, answer in answers}

        wait_for(lambda: len(seen()) == 1 and seen().isdisjoint({401, old}))
        assert call(port, "GET", "/v2/models/risk", None, before)[0] == 401
        all_up(port, now)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--shadow", "0.1"], "--shadow"),
        (["--state", "{folder}"], "--state"),
        (["--studies", "{studies}"], "--studies"),
        (["--grpc-port", "8001"], "--grpc-port"),
        (["--keys", "{keys}"], "rates"),
    ],
)
def test_what_needs_one_server_is_refused(artifact, tmp_path, given, said):
    (tmp_path / "studies.yaml").write_text(f"out: {tmp_path}\nstudies:\n  risk: {{model: m.onnx, data: d.csv}}\n")
    (tmp_path / "keys.yaml").write_text(new_key("ward-7")[1] + "  rate_per_s: 5\n")
    names = {"folder": tmp_path, "studies": tmp_path / "studies.yaml", "keys": tmp_path / "keys.yaml"}
    done = primum("serve", f"risk={artifact}", "--workers", "2", *(text.format(**names) for text in given))
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
    ladder = primum("serve", f"risk={artifact},{artifact}", "--workers", "2")
    assert ladder.returncode == 2 and "ladder" in ladder.stderr


def test_what_is_wrong_is_told_once_and_ends_all(artifact, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(artifact, broken)
    (broken / "manifest.json").write_text("{}")
    done = primum("serve", f"risk={broken}", "--workers", "2", "--port", free_port())
    assert done.returncode == 2 and done.stderr.count("error: ") == 1
    with server(f"risk={artifact}") as port:
        taken = primum("serve", f"risk={artifact}", "--workers", "2", "--port", port)
    assert taken.returncode == 2 and f"cannot bind to 127.0.0.1:{port}" in taken.stderr


def test_a_port_that_another_takes_while_models_are_loaded_is_told_and_ends_all(artifact):
    port = free_port()
    asked = command("serve", f"risk={artifact}", "--workers", "2", "--port", port)
    with subprocess.Popen(asked, stderr=subprocess.PIPE, text=True, env=environ()) as process, socket.socket() as other:
        try:
            wait_for(lambda: pids(process))
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
            assert process.wait(60) == 2
        finally:
            process.kill()
        assert process.stderr.read().count(f"cannot listen on port {port}") == 1


@pytest.mark.parametrize(("folder", "said"), [("none", "TMPDIR"), ("long" * 30, "too long")])
def test_a_folder_that_workers_cannot_meet_in_is_told_before_models_are_loaded(artifact, tmp_path, folder, said):
    if folder != "none":
        (tmp_path / folder).mkdir()
    asked = ("serve", f"risk={artifact}", "--workers", "2", "--port", free_port())
    # Where TMPDIR cannot be used, Python falls back to other folders, the current one at last.
    done = primum(*asked, TMPDIR=str(tmp_path / folder)) if folder != "none" else without_any(asked)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1


def without_any(asked):
    code = (
        "import sys, tempfile\n"
        "def none(**_): raise OSError(30, 'Read-only file system')\n"
        "tempfile.TemporaryDirectory = none\n"
        f"sys.argv = ['primum', *{[str(x) for x in asked]!r}]\n"
        "from primum.cli.main import run; run()"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, env=environ())


def test_nothing_is_imported_from_the_current_folder(artifact, tmp_path):
    here, script = tmp_path / "here", tmp_path / "primum"
    here.mkdir()
    (here / "pickle.py").write_text("import sys; print('IMPORTED', file=sys.stderr)\nraise SystemExit(7)\n")
    # As the console script is; `python -m` would import from there before anything of ours runs.
    script.write_text("from primum.cli.main import run\nif __name__ == '__main__':\n    run()\n")
    port = free_port()
    start = [sys.executable, script, *command("serve", f"risk={artifact}", "--workers", "2", "--port", port)[3:]]
    with subprocess.Popen(start, stderr=subprocess.PIPE, text=True, env=environ(), cwd=here) as process:
        try:
            wait_for(lambda: answers(port))
        finally:
            process.terminate()
            process.wait(30)
        assert "IMPORTED" not in process.stderr.read()


def answers(port):
    try:
        return call(port, "GET", "/v2/health/ready")[0] == 200
    except OSError:
        return False


def test_what_was_staged_when_a_worker_was_started_again_is_served_by_all(artifact, tmp_path):
    folder = tmp_path / "artifact"
    shutil.copytree(artifact, folder)
    coarse = build_artifact(tmp_path / "coarse", coarse_model())
    with server(f"risk={folder}", "--workers", "2", give_process=True) as (port, process):
        all_up(port)
        shutil.rmtree(folder)
        shutil.copytree(coarse, folder)
        os.kill(pids(process)[1], signal.SIGKILL)

        def seen():
            return {call(port, "GET", "/v2/models/risk")[2]["versions"][0] for _ in range(20)}

        wait_for(lambda: told(port, "primum_worker_restarts_total").get("2") == 1)
        old = call_version(artifact)
        wait_for(lambda: len(seen()) == 1 and old not in seen())


def call_version(artifact):
    with server(f"risk={artifact}") as port:
        return call(port, "GET", "/v2/models/risk")[2]["versions"][0]


def test_one_worker_does_not_change_what_all_serve(artifact):
    with server(f"risk={artifact}", "--workers", "2") as port:
        status, _, answer = call(port, "POST", "/v2/repository/models/risk/unload", {})
        assert status == 400 and "SIGHUP" in answer["error"]
        assert call(port, "POST", INFER, ASKED)[0] == 200
        assert call(port, "GET", "/optimization/status")[2]["worker"]["of"] == 2


def test_a_signal_before_the_first_is_ready_ends_it(artifact):
    asked = command("serve", f"risk={artifact}", "--workers", "2", "--port", free_port())
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ()) as process:
        try:
            wait_for(lambda: pids(process))
            (worker,) = pids(process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            wait_for(lambda: not alive(worker))
        finally:
            process.kill()
