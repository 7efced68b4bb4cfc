"""Turning requests away unread: in virtual time, and under real load."""

import json
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served import FEATURES, build_artifact, call, server

from primum.data.preprocessing_array import ArrayPreprocessing
from primum.serving import lobby
from primum.serving.http.unread import may_be_shed, turn_away
from primum.serving.lobby import LEAST, TARGET_S, TURN_S, Lobby

INFER = "/v2/models/risk/infer"


class Visit:
    """What came on a socket of the world."""

    def __init__(self, world, came, cost, gone=False):
        self.world, self.came, self.cost, self.gone = world, came, cost, gone

    def let_in(self, came):
        if self.gone:
            return False
        self.world.call_soon(self.world.handle, self)
        return True

    def turn_away(self, came):
        if self.gone:
            return False
        self.world.refused.append(self.world.now - self.came)
        self.world.work(self.world.refusal)
        return True


class World:
    """An event loop: it finds what waits on its sockets, then does what it was told to do until then."""

    def __init__(self, cost=100e-6, refusal=12e-6):
        self.now, self.cost, self.refusal = 0.0, cost, refusal
        self.lobby = Lobby(lambda: self.now)
        self.waiting, self.ready, self.delays, self.refused, self.turns = [], [], [], [], []

    @property
    def answered(self):
        return len(self.delays)

    def call_soon(self, told, *what):
        self.ready.append((told, what))

    def work(self, seconds):
        self.now += seconds

    def come(self, number, cost=None, gone=False):
        """So many at once."""
        cost = self.cost if cost is None else cost
        self.waiting += [Visit(self, self.now, cost, gone) for _ in range(number)]

    def once(self):
        """One turn."""
        began, (found, self.waiting) = self.now, (self.waiting, [])
        for visit in found:
            if self.lobby.open:
                self.lobby.pass_by(self)
                visit.let_in(self.now)
            else:
                self.lobby.wait(visit, self)
        due, self.ready = self.ready, []
        self.work(2e-6)
        for told, what in due:
            told(*what)
        self.turns.append(self.now - began)

    def handle(self, visit):
        self.work(visit.cost)
        self.delays.append((self.now, self.now - visit.came))

    def run(self, rate, seconds, connections=2048, background=None):
        """Even arrivals at `rate`; each waits on its connection until it is read. `background`: (seconds of work, and
        between its beginnings) of what the loop does for others.
        """
        start, sent, end = self.now, 0, self.now + seconds
        started = 0
        while self.now < end:
            due = int((self.now - start) * rate)
            while sent < due and len(self.waiting) + len(self.lobby) < connections:
                self.waiting.append(Visit(self, start + sent / rate, self.cost))
                sent += 1
            if background is not None and (self.now - start) >= started * background[1]:
                self.call_soon(self.work, background[0])
                started += 1
            if self.waiting or self.ready:
                self.once()
            else:
                self.now += 1e-4
        return sent


def test_below_capacity_nothing_is_turned_away():
    world = World()
    world.run(9000, 5)
    assert world.lobby.turned_away == 0 and world.answered > 40_000


def test_a_burst_that_drains_is_served_whole():
    world = World()
    world.run(8000, 1)
    world.come(600)
    world.run(8000, 1)
    assert world.lobby.turned_away == 0


def test_at_twice_the_capacity_most_of_it_is_still_answered_in_time():
    world = World()
    world.run(20_000, 6)
    settled = [delay for when, delay in world.delays if when > 1]
    good = sum(delay <= 0.1 for delay in settled)
    assert good / 5 > 0.8 * 10_000 and good > 0.99 * len(settled)
    assert world.lobby.turned_away > 0


def test_it_ends_when_the_load_does():
    world = World()
    world.run(20_000, 2)
    world.run(5000, 1)
    count = world.lobby.turned_away
    world.run(5000, 5)
    assert world.lobby.turned_away == count and not world.lobby.standing


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9000), st.integers(0, 600)), min_size=1, max_size=6))
def test_no_load_below_capacity_is_ever_turned_away(phases):
    """Whatever the rates, and however many come at once."""
    world = World()
    for rate, burst in phases:
        world.come(burst)
        world.run(rate, 0.5)
    assert world.lobby.turned_away == 0


def overloaded():
    """One that turns requests away."""
    world = World()
    world.run(20_000, 1)
    assert world.lobby.standing
    return world


def lone(world, number=40, apart=0.3):
    """Requests one at a time, and nothing else: how many were turned away."""
    before = world.lobby.turned_away
    for _ in range(number):
        world.come(1)
        for _ in range(5):
            world.once()
        world.now += apart
    return world.lobby.turned_away - before


def test_after_an_overload_a_lone_request_is_answered_however_long_nothing_came():
    for idle in (1e-3, 0.1, 1, 3600):
        world = overloaded()
        while world.ready:
            world.once()
        world.now += idle
        assert lone(world) == 0 and not world.lobby.standing


@given(st.floats(1e-3, 3), st.floats(0, 1000), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_a_costly_request_turns_nobody_away_afterwards(cost, idle, together):
    """Not those that come alone, nor a few at once, nor a load below capacity."""
    world = World()
    world.come(1, cost)
    for _ in range(4):
        world.once()
    world.now += idle
    for _ in range(40):
        world.come(together)
        for _ in range(4):
            world.once()
        world.now += 0.01
    world.run(5000, 1)
    assert world.lobby.turned_away == 0


@pytest.mark.parametrize(
    ("rate", "background"),
    [
        *[(30, often) for often in [(0.001, 0.1), (0.05, 0.1), (0.02, 0.021), (0.09, 0.0905)]],
        (3000, (0.02, 0.04)),
        (800, (0.016, 0.01601)),
    ],
)
def test_what_the_loop_does_for_others_turns_nobody_away(rate, background):
    """Idle ticks, calls of another protocol, a reload: though requests wait for it, reading fewer would not help."""
    world = World()
    world.run(rate, 20, background=background)
    assert world.lobby.turned_away == 0 and world.answered > 0.5 * 20 * rate


@pytest.mark.parametrize("number", [10, 60, 300])
def test_those_that_may_not_wait_do_not_shut_out_those_who_do(number, monkeypatch):
    """Urgent requests that fill every turn: routine ones are still let in, so that the batcher decides."""
    monkeypatch.setattr(lobby, "STANDING_S", 3600)
    world = World()
    world.come(2000)
    for _ in range(200):
        for _ in range(number):
            world.lobby.pass_by(world)
            world.call_soon(world.work, world.cost)
        before = len(world.lobby)
        world.come(4)
        world.once()
        assert not before or len(world.lobby) <= max(0, before - LEAST + 4)
    while world.ready:
        world.once()
    assert world.answered == 2800


def test_standing_ends_where_nobody_is_turned_away_any_more():
    """Though somebody always waits."""
    world = overloaded()
    closed = []
    for _ in range(2000):
        world.come(200 - len(world.lobby) - len(world.ready))
        world.once()
        closed.append((world.now, world.lobby.standing))
    settled = [standing for when, standing in closed if when > closed[0][0] + 1]
    assert len(world.lobby) and settled and not any(settled)


def test_a_connection_that_fails_keeps_nobody_waiting(caplog):
    class Broken(Visit):
        def let_in(self, came):
            raise RuntimeError("patient 17")

        turn_away = let_in

    world = World()
    world.come(200)
    for k in (70, 90, 110):
        world.waiting[k] = Broken(world, world.now, world.cost)
    for _ in range(50):
        world.once()
    assert world.answered == 197 and not len(world.lobby) and world.lobby.open
    assert "RuntimeError" in caplog.text and "patient" not in caplog.text


def test_after_an_overload_work_for_others_does_not_prolong_it():
    world = overloaded()
    world.run(100, 0.5, background=(0.05, 0.051))
    count = world.lobby.turned_away
    world.run(100, 10, background=(0.05, 0.051))
    assert world.lobby.turned_away == count and not world.lobby.standing


def test_a_few_costly_ones_are_all_read():
    """However long they make a turn, and however much longer others wait for it."""
    world = World(cost=0.1)
    world.run(200, 5, connections=5)
    answered = world.answered
    world.run(200, 5, connections=5)
    assert world.answered - answered >= 45 and world.lobby.turned_away == 0


@pytest.mark.parametrize("cost", [20e-6, 100e-6, 1e-3])
def test_turns_are_kept_short_however_much_comes(cost):
    """Who is worked on at once is what the processor's caches hold; five turns are an answer's delay."""
    world = World(cost)
    world.run(2 / cost, 3)
    settled = world.turns[len(world.turns) // 2 :]
    long = max(2 * TURN_S, 2 * LEAST * cost)
    assert sum(turn > long for turn in settled) < 0.02 * len(settled)


def test_nobody_waits_where_few_come():
    """One turn for a lone request, and nothing to do after it."""
    world = World()
    for _ in range(50):
        world.come(LEAST - 1)
        world.once()
        assert not len(world.lobby) and len(world.ready) <= LEAST
        world.once()
        assert not world.ready
        world.now += 0.01


def test_they_are_let_in_in_order_and_no_sooner_turned_away_than_said():
    world = overloaded()
    world.delays.clear()
    world.refused.clear()
    world.run(20_000, 2)
    came = [when - delay for when, delay in world.delays]
    assert came == sorted(came) and min(world.refused) > TARGET_S


def test_who_has_left_is_neither_let_in_nor_counted():
    world = World()
    world.come(1000, gone=True)
    world.come(10)
    for _ in range(3):
        world.once()
    assert world.answered == 10 and not len(world.lobby) and world.lobby.turned_away == 0


BODY = json.dumps(
    {"inputs": [{"name": "input", "shape": [1, FEATURES], "datatype": "FP32", "data": [0.0] * FEATURES}]}
).encode()
WHOLE = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY


@pytest.mark.parametrize(
    ("data", "may"),
    [
        (WHOLE, True),
        (WHOLE.replace(b"/infer", b"/versions/1/infer"), True),
        (WHOLE.replace(b"/infer", b"/predict?timeout_ms=100"), True),
        (WHOLE[:-1], False),
        (WHOLE + b"P", False),
        (WHOLE.replace(b"POST", b"GET "), False),
        (WHOLE.replace(b"Content-Length", b"Transfer-Encoding"), False),
        (WHOLE.replace(b'"name"', b'"priority"'), False),
        (WHOLE.replace(b'"name"', b'"\\u0070ame"'), False),
        (WHOLE.replace(b"/infer", b"/predict?priority=1"), False),
        (WHOLE.replace(b"/infer", b"/predict?timeout_ms=100&priority=1"), False),
        (WHOLE.replace(b"/infer", b"/predict?%70riority=1"), False),
        (WHOLE.replace(b"/v2/models/risk/infer", b"/v2/repository/models/risk/unload"), False),
        (WHOLE.replace(b"/v2/models/risk/infer", b"/v2/repository/models/risk/load"), False),
        (WHOLE.replace(b"/v2/models/risk/infer", b"/v2/repository/index"), False),
        (WHOLE.replace(b"/v2/models/risk/infer", b"/optimization/optimize-model"), False),
        (WHOLE.replace(b"/v2/models/risk/infer", b"/v2/models/../repository/models/risk/unload"), False),
        (WHOLE[:30], False),
    ],
)
def test_only_a_whole_request_for_an_answer_without_urgency_may_be_turned_away(data, may):
    assert may_be_shed(data) is may


class Wire:
    """A transport that keeps what was written."""

    def __init__(self):
        self.written, self.closed = b"", False

    def write(self, data):
        self.written += data

    def close(self):
        self.closed = True


@pytest.mark.parametrize(
    ("data", "closed"),
    [
        (WHOLE, False),
        (WHOLE.replace(b"Host: x", b"Connection: keep-alive"), False),
        (WHOLE.replace(b"Host: x", b"connection: Close"), True),
        (WHOLE.replace(b"Host: x", b"Connection: TE, close"), True),
        (WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"), True),
    ],
)
def test_a_connection_that_was_to_be_closed_is_closed_when_its_request_is_turned_away(data, closed):
    wire = Wire()
    turn_away(wire, data)
    head, _, body = wire.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in head and json.loads(body)["error"]
    assert wire.closed is closed and (b"connection: close" in head) is closed


def test_after_costly_requests_a_server_that_idles_answers_everybody(tmp_path):
    folder = build_artifact(tmp_path / "risk", preprocessing=ArrayPreprocessing())
    costly = {"model_name": "risk", "data": [[0] * FEATURES] * 10_000}
    with server(f"risk={folder}") as port:
        assert [call(port, "POST", "/optimization/batch-predict", costly)[0] for _ in range(3)] == [200] * 3
        statuses = []
        for _ in range(12):
            time.sleep(0.1)
            statuses.append(call(port, "POST", INFER, BODY)[0])
    assert statuses == [200] * 12


@pytest.mark.slow
def test_under_a_flood_each_request_has_one_answer_and_the_urgent_are_read(artifact):
    urgent = json.loads(BODY) | {"parameters": {"priority": 1}}
    tally, stop = [], threading.Event()

    def flood():
        connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(400)]
        while not stop.is_set():
            for connection in connections:
                connection.sendall(WHOLE)
            for connection in connections:
                head = connection.recv(65536)
                while b"\r\n\r\n" not in head:
                    head += connection.recv(65536)
                tally.append(int(head.split()[1]))
        for connection in connections:
            connection.close()

    with server(f"risk={artifact}") as port:
        floods = [threading.Thread(target=flood) for _ in range(4)]
        for one in floods:
            one.start()
        statuses = []
        end = time.monotonic() + 5
        while time.monotonic() < end:
            statuses.append(call(port, "POST", INFER, urgent)[0])
        stop.set()
        for one in floods:
            one.join()
        text = call(port, "GET", "/metrics")[2].decode()
    shed = float(
        next(line.split()[-1] for line in text.splitlines() if line.startswith("primum_http_shed_requests_total"))
    )
    assert set(statuses) == {200} and set(tally) <= {200, 503}
    assert tally.count(503) >= shed
