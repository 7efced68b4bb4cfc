"""A process of networks ends with its server, whatever it is at, and dies in the server's place."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from served import FEATURES, call, server

SERVER = """
import asyncio, sys, threading
from pathlib import Path
import numpy as np
from executor_doubles import HANG
from primum.artifact.manifest import read_manifest
from primum.serving.executor.processes import Processes
from primum.serving.executor.program import Asked, Network

executor = Processes(2, opener="executor_doubles:opened")
folder = Path(sys.argv[1])
program = executor.open(Network(folder, read_manifest(folder)))

async def main():
    hung = asyncio.ensure_future(executor.run(Asked(program, np.full((1, 32), HANG, np.float32))))
    await asyncio.sleep(0.2)
    print(*[slot.process._process.pid for slot in executor._slots], flush=True)
    await hung

asyncio.run(main())
"""


def gone(pids, seconds=10.0):
    end = time.monotonic() + seconds
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
        assert time.monotonic() < end, "a process outlives its server"
        time.sleep(0.05)


def test_a_killed_server_leaves_no_process(artifact):
    """One of them is at a call that never returns, the other is stopped and reads nothing."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, artifact], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        os.kill(pids[1], signal.SIGSTOP)
        process.kill()
    gone(pids)


def test_a_server_goes_on_when_its_process_is_killed(artifact):
    row = np.linspace(-1, 1, FEATURES, dtype=np.float32)
    body = {"inputs": [{"name": "input", "shape": [1, FEATURES], "datatype": "FP32", "data": row.tolist()}]}
    with server(f"risk={artifact}", "--isolation", "always", "--executors", "2", give_process=True) as (port, process):
        children = psutil.Process(process.pid).children()
        assert len(children) == 2
        before = call(port, "POST", "/v2/models/risk/infer", body)
        for child in children:
            assert Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip() == "500"
            child.terminate()
            os.kill(child.pid, signal.SIGINT)
        time.sleep(0.2)
        assert [child.is_running() for child in children] == [True, True], "only the server ends them"
        for child in children:
            child.kill()
        after = call(port, "POST", "/v2/models/risk/infer", body)
        assert before[0] == after[0] == 200
        assert json.dumps(before[2]["outputs"]) == json.dumps(after[2]["outputs"])
        properties = call(port, "GET", "/v2/models/risk")[2]["properties"]
        assert properties["isolation"] == "process (as asked for)"
        assert b'primum_executor_restarts_total{model="risk",reason="died"} 2.0' in call(port, "GET", "/metrics")[2]
        children = psutil.Process(process.pid).children()
    gone([child.pid for child in children])


def test_a_model_that_no_process_can_run_is_not_ready(artifact):
    """A load balancer must see it: a process that hangs is found out only by a request."""
    with server(f"risk={artifact}", "--isolation", "always", give_process=True) as (port, process):
        paths = ("/v2/health/ready", "/v2/models/risk/ready", "/optimization/status")

        def told():
            found = [call(port, "GET", path) for path in paths]
            return [status for status, _, _ in found[:2]], found[2][2]["ready"]

        assert told() == ([200, 200], True)
        os.kill(psutil.Process(process.pid).children()[0].pid, signal.SIGKILL)
        end, seen = time.monotonic() + 10, []
        while told() not in seen or len(seen) < 2:
            seen.append(now) if (now := told()) not in seen else None
            assert time.monotonic() < end, f"only {seen} was told"
        assert ([503, 503], False) in seen
        while told() != ([200, 200], True):
            assert time.monotonic() < end, "never ready again"
        assert call(port, "GET", "/v2/health/live")[0] == 200


def test_what_a_network_prints_goes_nowhere(tmp_path):
    """Runtimes may quote a case."""
    code = "import sys; sys.stdout.write('patient Smith'); sys.stderr.write('patient Smith')"
    (tmp_path / "printing.py").write_text(f"{code}\nopened = None\n")
    asked = (
        "from primum.serving.executor.process import Process\n"
        "process = Process('printing:opened', 0)\nprocess.greet()\nprocess.kill()\nprocess.reap()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(tmp_path)])}
    done = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
