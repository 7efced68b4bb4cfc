"""A server in processes of its own: started, asked, watched (CPU, memory), and ended, by their ids alone."""

from __future__ import annotations

import ctypes
import http.client
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from environments import clean_environment
from wires import Message
from workloads import Workload

_TOKEN = "BENCH_TOKEN"
"""Every process that a server starts inherits it: those that leave its session are found too."""
_PR_SET_PDEATHSIG = 1
_TICKS = os.sysconf("SC_CLK_TCK")
_ANSWER_S, _STOP_S = 20.0, 15.0


class StartError(Exception):
    """A server did not come to answer."""


@dataclass(frozen=True)
class Answer:
    """What a request got. `status` 0: nothing, for the reason in `body`."""

    status: int
    body: bytes
    header: Callable[[str], str | None]
    seconds: float


def free_port() -> int:
    """A port whose successor is free too."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            with suppress(OSError):
                two.bind(("127.0.0.1", port + 1))
                return port


def ask(port: int, message: Message, timeout_s: float = _ANSWER_S) -> Answer:
    """One request on a connection of its own."""
    headers = {"content-type": message.type} | dict(h.split(": ", 1) for h in message.headers)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    start = time.monotonic()
    try:
        connection.request("POST", message.path, message.body, headers)
        got = connection.getresponse()
        return Answer(got.status, got.read(), got.headers.get, time.monotonic() - start)
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, type(error).__name__.encode(), lambda _: None, time.monotonic() - start)
    finally:
        connection.close()


class Server:
    """One server, from its start to its end."""

    def __init__(self, command: list[str], port: int, workload: Workload, variables: dict[str, str], own: bool) -> None:
        """`own`: keeps PYTHONPATH, as the benchmark's own Python needs it."""
        self.port = port
        self._token = secrets.token_hex(8)
        self._log = workload.artifact.parent / f"server-{self._token}.log"
        apps = str(Path(__file__).parent / "apps")
        base = dict(os.environ) if own else clean_environment()
        base["PYTHONPATH"] = os.pathsep.join(p for p in (apps, base.get("PYTHONPATH", "")) if p)
        known = {
            _TOKEN: self._token,
            "BENCH_MODEL": str(workload.model),
            "BENCH_SHAPE": ",".join(map(str, workload.shape)),
            "BENCH_FORMAT": workload.format,
            "OMP_NUM_THREADS": "1",
            "BENTOML_DO_NOT_TRACK": "True",
            "DO_NOT_TRACK": "1",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=base | known | variables,
                cwd=workload.artifact.parent,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def await_ready(self, message: Message, timeout_s: float) -> float:
        """Seconds until it answers a real request. Raises StartError with the end of its log."""
        start = time.monotonic()
        while (waited := time.monotonic() - start) < timeout_s:
            if self._process.poll() is not None:
                raise StartError(f"it ended with {self._process.returncode}: {self.log_tail()}")
            if ask(self.port, message, 5).status == 200:
                return waited
            time.sleep(0.02)
        last = ask(self.port, message, 5)
        raise StartError(f"no answer in {timeout_s:.0f} s (last: {last.status}): {self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        return " | ".join(self._log.read_text(errors="replace").strip().splitlines()[-3:])[-600:]

    def pids(self) -> list[int]:
        """Its processes, now: of its session, or with its token (some write over theirs, others leave the session)."""
        wanted, found = f"{_TOKEN}={self._token}".encode(), []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    fields = _stat(int(entry.name))
                    mine = int(fields[3]) == self._process.pid
                    if fields[0] != "Z" and (mine or wanted in (entry / "environ").read_bytes().split(b"\0")):
                        found.append(int(entry.name))
        return found

    def cpu_s(self) -> float:
        """Seconds of CPU that its living processes have used."""
        total = 0
        for pid in self.pids():
            with suppress(OSError):
                fields = _stat(pid)
                total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def pss_mb(self) -> float:
        """Megabytes of memory, pages that processes share counted once."""
        total = 0
        for pid in self.pids():
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
        return total / 1024

    def stop(self) -> tuple[float, bool]:
        """End it; the seconds that took, and whether all its processes left on SIGTERM."""
        start = time.monotonic()
        self._process.terminate()
        while (left := self._alive()) and time.monotonic() - start < _STOP_S:
            time.sleep(0.05)
        took = time.monotonic() - start
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(_STOP_S)
        return took, not left

    def _alive(self) -> list[int]:
        self._process.poll()
        return self.pids()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name: state, parent, group, session, ... (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _end_with_parent() -> None:
    """Runs in the child: Linux ends it should the benchmark die without ending it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def busy_s() -> float:
    """Seconds of CPU that this machine has spent since it started, on whatever."""
    user, nice, system, _idle, _wait, irq, soft, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + soft + steal) / _TICKS
