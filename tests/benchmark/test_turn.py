"""Timings of different processes on one machine never overlap."""

import subprocess
import sys
import time

import numpy as np

from primum.benchmark.timing import interleave
from primum.benchmark.turn import timing_turn

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
