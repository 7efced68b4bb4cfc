"""The benchmark of serving: what its load generator counts, what is called INVALID, and what each server is asked."""

import json
import shutil
import socketserver
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from primum.errors import InputError
from primum.serving.wire.protocol import decode

FOLDER = Path(__file__).parents[2] / "benchmarks" / "serving"
MODULES = ("generator", "page", "scenarios", "summary", "wires", "workloads")


@pytest.fixture
def parts(monkeypatch):
    """The modules of the benchmark; none of them stays behind under its short name."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield SimpleNamespace(**{name: __import__(name) for name in MODULES})
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(FOLDER)):
            del sys.modules[name]


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    path = tmp_path_factory.mktemp("load") / "load"
    source = str(FOLDER / "load.c")
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", source, "-o", str(path), "-lm"], check=True)
    return path


class Handler(BaseHTTPRequestHandler):
    """Answers as the first byte of the body says: o(k), u(navailable), c(hunked), d(rop the connection), s(tall)."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, self.headers["content-type"], self.headers["x-one"], body))
        kind = body[:1]
        if kind == b"d":
            self.close_connection = True
            return
        if kind == b"s":
            with self.server.lock:
                time.sleep(0.05)
        self.send_response(503 if kind == b"u" else 200)
        if kind == b"c":
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\nabc\r\n")
            self.wfile.flush()
            self.wfile.write(b"2\r\nde\r\n0\r\n\r\n")
        else:
            self.send_header("content-length", "100000")
            self.end_headers()
            self.wfile.write(bytes(100000))

    def log_message(self, *_):
        pass


class Serving(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True
    request_queue_size = 128


@pytest.fixture
def port():
    with Serving(("127.0.0.1", 0), Handler) as server:
        server.seen, server.lock = [], threading.Lock()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1], server.seen
        server.shutdown()


@pytest.fixture
def load(parts, binary, tmp_path):
    """Runs the generator: (port, bodies, options) to what it counted."""

    def run(port, *bodies, **options):
        command = [str(binary), "--port", str(port)]
        for number, body in enumerate(bodies):
            (tmp_path / str(number)).write_bytes(body)
            command += ["--body", str(tmp_path / str(number))]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        return parts.generator.parse(done.stdout)

    return run


def test_every_answer_is_counted_by_its_status(load, port):
    number, seen = port
    found = load(number, b"o", b"u", b"c", path="/a", type="text/x", header="X-One: 1", connections=2, seconds=0.5)
    assert found.errors == 0
    assert set(found.status) == {"200", "503"}
    # Bodies take turns: two in three are answered 200.
    assert found.status["200"] == pytest.approx(2 * found.status["503"], abs=4)
    assert found.latency_ms["n"] == found.status["200"]
    assert "503" in found.first_failure
    assert {s[:3] for s in seen} == {("/a", "text/x", "1")}
    assert [s[3] for s in seen[:3]] != [b"o"] * 3


def test_a_dropped_connection_is_an_error_and_is_opened_again(load, port):
    found = load(port[0], b"d", b"o", connections=1, seconds=0.5)
    assert found.errors > 3
    assert found.status["200"] == pytest.approx(found.errors, abs=2)


def test_open_arrivals_come_from_the_seed_alone(load, port):
    one, same, other = (
        load(port[0], b"o", rate=300, connections=64, seconds=1, warmup=0.1, seed=seed) for seed in (1, 1, 2)
    )
    assert one.offered == same.offered != other.offered
    # Poisson: within five standard deviations.
    assert abs(one.offered - 300) < 5 * 300**0.5
    assert one.status["200"] == one.offered == one.lag_ms["n"]


def test_latency_counts_from_the_intended_time(load, port):
    # 50 ms each on one connection at 40 a second, twice what it can take: the last waits for half of the time.
    found = load(port[0], b"s", rate=40, connections=1, seconds=1.5, drain=0.1, deadline_ms=60)
    assert found.latency_ms["max"] > 400
    assert found.never_sent > 10
    assert found.within < found.status["200"] < found.offered
    assert found.status["200"] + found.unanswered + found.never_sent == found.offered


def test_nobody_listens(load):
    found = load(1, b"o", rate=100, connections=4, seconds=0.3)
    assert found.refused > 1
    assert found.status == {}
    assert found.never_sent == found.offered > 0


def counted(parts, **changes):
    data = {"n": 1000, "p50": 1.0, "p90": 2.0, "p99": 3.0, "p999": 4.0, "max": 5.0}
    base = {"rate": 100.0, "seconds": 10.0, "wall_s": 11.0, "cpu_s": 1.0, "offered": 1000, "errors": 0}
    base |= {"unanswered": 0, "never_sent": 0, "refused": 0, "within": 900, "late": 0, "status": {"200": 1000}}
    return parts.generator.Load(**(base | {"latency_ms": data, "lag_ms": data} | changes))


def test_counts_that_do_not_add_up_are_refused(parts):
    told = vars(counted(parts))
    assert parts.generator.parse(json.dumps(told)).good_rate == 100
    with pytest.raises(ValueError, match="1000 requests, but 999 ended"):
        parts.generator.parse(json.dumps(told | {"status": {"200": 999}}))


@pytest.mark.parametrize(
    ("changes", "own", "others", "told"),
    [
        ({}, 0.9, 0.25, []),
        ({"late": 11}, 0.1, 0.0, ["1.1%"]),
        ({"late": 10}, 0.1, 0.0, []),
        ({}, 0.91, 0.26, ["0.91", "0.26"]),
        ({"offered": 0}, 0.1, 0.0, [" 0"]),
    ],
)
def test_what_makes_a_run_invalid(parts, changes, own, others, told):
    found = parts.generator.faults(counted(parts, **changes), own, others)
    assert len(found) == len(told)
    assert all(text in fault.text() for fault, text in zip(found, told, strict=True))


def record(parts, name, number, answered, invalid=False, **changes):
    """One round in which a contestant answered so many of 1000 at a time."""
    fault = (parts.generator.Fault("cores of other work:", 1.0, ".2f"),) if invalid else ()
    one = parts.generator.Measured(counted(parts, status={"200": answered}), 0.5, 0.1, 0.0, fault)
    runs = {f"closed {c}": one for c in (1, 32, 128)} | {f"open {s}%": one for s in (30, 60, 90)}
    return parts.scenarios.Record(
        number, "risk-json", name, saturation=answered / 10, runs=runs | {"overload": one, "after": one}, **changes
    )


def rounds(parts, again=1.0, **changes):
    found = []
    for number, floor in ((1, 1000), (2, 500)):
        found += [record(parts, "floor", number, floor), record(parts, "floor-again", number, int(floor * again))]
        found += [record(parts, "primum", number, int(0.6 * floor) + 10 * number, **changes)]
        found += [record(parts, "litserve", number, floor // 10)]
    return found


def test_ratios_are_within_a_round(parts):
    summary = parts.summary.Summary("risk-json", rounds(parts))
    found = summary.ratio("primum", "closed 32", parts.summary.good_rate)
    assert (found.low, found.high, found.rounds, found.valid) == (0.61, 0.64, 2, True)
    assert found.median == pytest.approx(0.625)
    first, second, _ = summary.verdict()
    assert first == "primum answers 0.62 (0.61 to 0.64) times what the floor does, 32 at a time"
    assert second == "at its best 6.25 (6.10 to 6.40) times what litserve does at its own"
    assert "INVALID" not in parts.page.page([summary], [], ["here"]).partition("## risk-json")[2]


def test_a_floor_that_differs_from_itself_makes_all_ratios_invalid(parts):
    summary = parts.summary.Summary("risk-json", rounds(parts, again=0.88))
    assert "by up to 12%" in summary.against_ratios
    assert not summary.ratio("primum", "closed 32", parts.summary.good_rate).valid
    # The rates themselves stay.
    assert summary.run("primum", "closed 32", parts.summary.good_rate).valid
    assert "no A/A run" in parts.summary.Summary("risk-json", [record(parts, "primum", 1, 10)]).against_ratios


def test_an_invalid_round_counts_only_where_there_is_no_other(parts):
    bad, good = record(parts, "primum", 1, 10, invalid=True), record(parts, "primum", 2, 500)
    both = parts.summary.Summary("risk-json", [bad, good])
    assert both.run("primum", "closed 32", parts.summary.good_rate).median == 50
    alone = parts.summary.Summary("risk-json", [bad])
    assert not alone.run("primum", "closed 32", parts.summary.good_rate).valid
    beside = parts.summary.Summary("risk-json", [bad, record(parts, "floor", 1, 100), record(parts, "litserve", 1, 5)])
    assert [told.count("INVALID") for told in beside.verdict()] == [1, 1, 1]
    text = parts.page.page([alone], ["ray: it could not be installed"], ["here"])
    assert "1, 1.00 / 3.00 INVALID" in text
    assert "cores of other work: 1.00" in text
    assert "not measured: ray: it could not be installed" in text


def test_what_failed_is_told_and_few_answers_give_no_tail(parts):
    failed = parts.scenarios.Record(1, "risk-json", "bentoml", "StartError: no")
    few = record(parts, "primum", 1, 10)
    load = replace(few.runs["closed 1"].load, latency_ms={"n": 458, "p50": 1.0, "p99": 9.0})
    few.runs["closed 1"] = replace(few.runs["closed 1"], load=load)
    text = "\n".join(parts.page.section(parts.summary.Summary("risk-json", [failed, few])))
    assert "- not measured: bentoml: StartError: no" in text
    assert "1, 1.00 / – |" in text


def test_a_band_defers_exactly_so_many(parts):
    scores = np.random.default_rng(0).uniform(size=32)
    for deferred in (1, 3, 31):
        band = parts.workloads.band_for(scores, 0.5, deferred)
        assert (np.abs(scores - 0.5) <= band).sum() == deferred
    with pytest.raises(ValueError, match="equal"):
        parts.workloads.band_for(np.full(4, 0.4), 0.5, 2)


@pytest.mark.parametrize("form", ["json", "binary"])
def test_primum_is_asked_by_the_protocol(parts, form):
    case = np.round(np.random.default_rng(0).standard_normal((1, 4, 4)), 4).astype(np.float32)
    for deadline_ms, timeout_s in ((100.0, 0.1), (None, None)):
        message = parts.wires.PRIMUM.encode(case, form, deadline_ms)
        asked = decode(message.body, int(message.headers[0].split(": ")[1]) if message.headers else None)
        np.testing.assert_array_equal(asked.inputs["input"], case[None])
        assert (asked.timeout_s, asked.binary) == (timeout_s, form == "binary")


@pytest.mark.parametrize("wire", ["PLAIN", "IN_JSON", "LISTED", "MLSERVER", "PRIMUM"])
def test_bad_requests_are_bad_in_one_way(parts, wire):
    spoken, case = getattr(parts.wires, wire), np.linspace(-1, 1, 32, dtype=np.float32)
    good = spoken.encode(case, "json", None)
    short, typed, broken = (spoken.bad(kind, case, "json") for kind in parts.wires.BAD)
    json.loads(good.body), json.loads(short.body), json.loads(typed.body)
    assert len(short.body) < len(good.body)
    assert typed.body.replace(b'"high"', b"-1.0") == good.body
    with pytest.raises(ValueError):
        json.loads(broken.body)
    assert spoken.bad("wrong type", case, "binary") is None
    assert spoken.bad("wrong length", case, "binary") is not None
    if wire == "PRIMUM":
        for bad in (typed, broken):
            with pytest.raises(InputError):
                decode(bad.body, None)
