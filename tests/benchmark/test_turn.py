"""Timings of different processes on one machine never overlap."""

import subprocess
import sys
import time

import numpy as np
import pytest

from primum.benchmark.timing import interleave
from primum.benchmark.turn import timing_turn, working

TIMED = (
    "import sys, time, numpy as np\nfrom primum.benchmark import timing\n"
    "class Session:\n"
    "    def time(self, inputs, rows):\n"
    "        began = time.time()\n        time.sleep(0.02)\n        spans.append((began, time.time()))\n"
    "        return np.full(len(rows), 20.0)\n"
    "spans = []\ntiming.interleave({'a': Session(), 'b': Session()}, None, np.arange(8), 6)\n"
    "print(min(s[0] for s in spans), max(s[1] for s in spans))\n"
)


def test_two_workers_take_turns():
    started = [subprocess.Popen([sys.executable, "-c", TIMED], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    spans = sorted(tuple(map(float, p.communicate(timeout=60)[0].split())) for p in started)
    assert spans[0][1] <= spans[1][0], spans
    assert all(end - begin > 0.2 for begin, end in spans)


WORK = (
    "import sys, time\nfrom primum.benchmark.turn import working\nprint('works', flush=True)\n"
    "end = time.time() + 20\n"
    "while time.time() < end:\n"
    "    with working(), working():\n        print(time.time(), end=' ')\n        time.sleep(0.05)\n"
    "        print(time.time(), flush=True)\n"
)


def test_a_timing_gets_in_beside_work_that_never_rests_and_nothing_works_meanwhile():
    others = [subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert all(p.stdout.readline() == "works\n" and p.stdout.readline() for p in others)
    asked = time.time()
    with timing_turn():
        began = time.time()
        time.sleep(0.5)
        ended = time.time()
    assert began - asked < 5
    time.sleep(0.3)
    spans = []
    for process in others:
        process.kill()
        out = process.communicate()[0]
        spans += [tuple(map(float, line.split())) for line in out.splitlines() if len(line.split()) == 2]
    assert all(b <= began or a >= ended for a, b in spans), "no work beside the timing"
    assert any(a >= ended for a, _ in spans), "and work goes on after it"


def test_a_timing_within_work_is_refused_rather_than_waited_for():
    with working(), pytest.raises(AssertionError), timing_turn():
        pass


def test_one_turn_waits_for_another_and_ends_with_it():
    class Session:
        def time(self, inputs, rows):
            return np.full(len(rows), 1.0)

    with timing_turn():
        waiting = subprocess.Popen([sys.executable, "-c", TIMED], stdout=subprocess.PIPE, text=True)
        time.sleep(1.5)
        assert waiting.poll() is None
    assert waiting.wait(timeout=60) == 0
    waiting.stdout.close()
    assert interleave({"a": Session()}, None, np.arange(8), 2)["a"].shape[0] == 2
