"""A child process that crashes, hangs or fails is a TrialError in the parent, with its reason."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from primum.errors import StorageError, TrialError
from primum.runtimes.isolated import Isolated


def test_a_crash_is_reported_with_its_signal():
    with Isolated() as process, pytest.raises(TrialError, match="SIGABRT"):
        process.call("os:abort")


def test_a_hang_is_ended():
    with Isolated(timeout=1.0) as process, pytest.raises(TrialError, match="longer than 1 s"):
        process.call("time:sleep", secs=60) if sys.version_info >= (3, 13) else process.call("signal:pause")


def test_an_exception_is_reported_and_the_process_lives_on():
    with Isolated() as process:
        with pytest.raises(TrialError, match="FileNotFoundError"):
            process.call("os:listdir", path="/no/such/folder")
        assert process.call("os:getpid") != os.getpid()


def test_a_full_disk_is_not_a_trials_fault():
    with Isolated() as process, pytest.raises(StorageError):
        process.call("primum.files:write_bytes", path=_Full("/dev/full/x"), data=b"")


class _Full(type(__import__("pathlib").Path())):
    """A path whose parent is a device: writing below it fails as on a broken disk."""


def test_what_a_library_prints_does_not_reach_the_pipe():
    with Isolated() as process:
        process.call("os:system", command="echo noise; echo more noise >&2")
        assert process.call("os:getpid") > 0


@pytest.mark.parametrize(
    "last", ["time.sleep(60)", "p.call('worker_tasks:train', seconds=60)"], ids=["idle", "at work"]
)
def test_the_child_ends_when_its_parent_is_killed(last):
    """At work too: a training nobody waits for would burn a hospital's cores for hours."""
    code = (
        "import time\nfrom primum.runtimes.isolated import Isolated\n"
        f"p = Isolated()\nprint(p.call('os:getpid'), flush=True)\n{last}\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.5)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the child outlived its parent")


def test_arrays_survive_the_way(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    with Isolated() as process:
        found = process.call("numpy:asarray", a=array)
    np.testing.assert_array_equal(found, array)
