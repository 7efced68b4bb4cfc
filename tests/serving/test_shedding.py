"""Turning requests away unread: in virtual time, and under real load."""

import json
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served import FEATURES, call, server

from primum.serving.http.connection import may_be_shed
from primum.serving.shedding import Shedding

INFER = "/v2/models/risk/infer"


class World:
    """An event loop that does nothing but read, and work for what it read."""

    def __init__(self, cost=100e-6, refusal=12e-6):
        self.now, self.worked, self.cost, self.refusal = 0.0, 0.0, cost, refusal
        self.shedding = Shedding(lambda: self.now, lambda: self.worked)
        self.waiting, self.answered, self.delays = [], 0, []

    def call_soon(self, call):
        self.turn = call

    def work(self, seconds):
        self.now += seconds
        self.worked += seconds

    def run(self, rate, seconds, connections=2048):
        """Even arrivals at `rate`; each waits on its connection until it is read."""
        start, sent, end = self.now, 0, self.now + seconds
        while self.now < end:
            due = int((self.now - start) * rate)
            while sent < due and len(self.waiting) < connections:
                self.waiting.append(start + sent / rate)
                sent += 1
            if not self.waiting:
                self.now += 1e-4
                continue
            found, self.waiting = self.waiting, []
            taken = []
            for came in found:
                if self.shedding.take(self):
                    taken.append(came)
                else:
                    self.shedding.refused()
                    self.work(self.refusal)
            self.turn()
            self.work(len(taken) * self.cost)
            self.answered += len(taken)
            self.delays += [(self.now, self.now - came) for came in taken]
        return sent


def test_below_capacity_nothing_is_turned_away():
    world = World()
    world.run(9000, 5)
    assert world.shedding.count == 0 and world.answered > 40_000


def test_a_burst_that_drains_is_served_whole():
    world = World()
    world.run(8000, 1)
    world.waiting += [world.now] * 600
    world.run(8000, 1)
    assert world.shedding.count == 0


def test_at_twice_the_capacity_most_of_it_is_still_answered_in_time():
    world = World()
    world.run(20_000, 6)
    settled = [delay for when, delay in world.delays if when > 1]
    good = sum(delay <= 0.1 for delay in settled)
    assert good / 5 > 0.8 * 10_000 and good > 0.99 * len(settled)
    assert world.shedding.count > 0


def test_it_ends_when_the_load_does():
    world = World()
    world.run(20_000, 2)
    world.run(5000, 1)
    count = world.shedding.count
    world.run(5000, 5)
    assert world.shedding.count == count and not world.shedding.standing


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9000), st.integers(0, 600)), min_size=1, max_size=6))
def test_no_load_below_capacity_is_ever_turned_away(phases):
    """Whatever the rates, and however many come at once."""
    world = World()
    for rate, burst in phases:
        world.waiting += [world.now] * burst
        world.run(rate, 0.5)
    assert world.shedding.count == 0


BODY = json.dumps(
    {"inputs": [{"name": "input", "shape": [1, FEATURES], "datatype": "FP32", "data": [0.0] * FEATURES}]}
).encode()
WHOLE = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY


@pytest.mark.parametrize(
    ("data", "may"),
    [
        (WHOLE, True),
        (WHOLE[:-1], False),
        (WHOLE + b"P", False),
        (WHOLE.replace(b"POST", b"GET "), False),
        (WHOLE.replace(b"Content-Length", b"Transfer-Encoding"), False),
        (WHOLE.replace(b'"name"', b'"priority"'), False),
        (WHOLE[:30], False),
    ],
)
def test_only_a_whole_request_without_urgency_may_be_turned_away(data, may):
    assert may_be_shed(data) is may


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
