"""A recipe belongs to one worker at a time, and to nobody once that worker was killed."""

import os
import signal
import subprocess
import sys

from primum.study.leases import Leases

HOLD = (
    "import sys, pathlib\nfrom primum.study.leases import Leases\nfrom primum.runtimes.isolated import Isolated\n"
    "leases = Leases(pathlib.Path(sys.argv[1]), 'other')\n"
    "assert leases.take('abc')\nchild = Isolated()\nprint('held', flush=True)\nsys.stdin.read()\n"
)


def test_a_claim_is_exclusive_until_it_is_given_back(tmp_path):
    one, two = Leases(tmp_path, "one"), Leases(tmp_path, "two")
    assert one.take("abc") and one.take("abc") and not two.take("abc") and two.take("def")
    with one.holding("abc"):
        pass
    assert not two.take("abc"), "what was held before is held after"
    one.sign("abc")
    one.release("abc")
    with two.holding("abc"):
        assert not one.take("abc")
        assert two.last("abc") == "one", "two holds it and has run nothing"
    assert one.take("abc") and two.last("ghi") == ""


def test_a_killed_worker_has_no_claims_though_its_children_linger(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    mine = Leases(tmp_path, "mine")
    assert not mine.take("abc")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert mine.take("abc")
