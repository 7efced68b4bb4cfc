"""Everything that is asked of one server in one round."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bursts import Burst, burst
from contestants import Contestant
from environments import Environment
from generator import DEADLINE_MS, Measured, Plan, measure, write_bodies
from numpy.typing import NDArray
from processes import Server, ask, free_port
from wires import BAD, Message
from workloads import Workload

CLOSED = (1, 32, 128)
LOADS = (0.3, 0.6, 0.9)
OVERLOAD = 2.0
_OPEN_CONNECTIONS, _OVERLOAD_CONNECTIONS = 512, 2048
_AFTER_S = 0.5
_START_S = 120.0
_AGREES = 0.02
"""What an answer's probability may differ from the ONNX file's: INT8 rounds otherwise in a batch than alone."""


@dataclass(frozen=True)
class Length:
    """How long everything takes, seconds; `bursts`: a kind of bad request."""

    warmup: float
    closed: float
    open: float
    overload: float
    idle: float
    bursts: int


FULL = Length(warmup=1.0, closed=4.0, open=5.0, overload=6.0, idle=3.0, bursts=8)
QUICK = Length(warmup=0.3, closed=1.0, open=1.5, overload=2.0, idle=0.5, bursts=3)


@dataclass(frozen=True)
class Record:
    """One contestant on one workload in one round. `failed`: why it could not be measured; nothing else is there then.

    `runs`: "closed 32", "open 60%", "overload", "after" to what was measured.
    """

    round: int
    workload: str
    contestant: str
    failed: str = ""
    start_s: float = 0.0
    stop_s: float = 0.0
    left_on_sigterm: bool = True
    worst_difference: float = 0.0
    """Largest difference of a probability from the ONNX file's, over all cases."""
    deferred: int | None = None
    """Cases that a guarded artifact asked its original about."""
    idle_cores: float = 0.0
    idle_mb: float = 0.0
    end_mb: float = 0.0
    processes: int = 0
    body_bytes: int = 0
    saturation: float = 0.0
    """Answers 200 a second, at its best in a closed loop."""
    runs: dict[str, Measured] | None = None
    bad: dict[str, tuple[Burst, ...]] | None = None
    after_status: int = 0
    """What a single request got half a second after the overload."""
    after_ms: float = 0.0


class Disagreement(Exception):
    """A server's answers are not those of the model."""


def run(
    contestant: Contestant, environment: Environment, workload: Workload, binary: Path, length: Length, number: int
) -> Record:
    """All scenarios against a fresh server. Raises StartError, or Disagreement where it answers wrongly."""
    assert environment.python is not None
    # Short: sockets lie in it.
    with tempfile.TemporaryDirectory(prefix="pb", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        command = contestant.command(environment.python, port, workload, folder)
        server = Server(command, port, workload, contestant.variables, contestant.environment is None)
        try:
            return _asked(server, contestant, workload, binary, length, number, folder / "bodies")
        finally:
            server.stop()


def _asked(
    server: Server, contestant: Contestant, workload: Workload, binary: Path, length: Length, number: int, folder: Path
) -> Record:
    messages = [contestant.wire.encode(case, workload.format, None) for case in workload.cases]
    urgent = [contestant.wire.encode(case, workload.format, DEADLINE_MS) for case in workload.cases]
    start_s = server.await_ready(messages[0], _START_S)
    difference, deferred = check_answers(server, contestant, workload, messages)
    idle_cores, idle_mb = _idle(server, length.idle)
    calm, hurried = write_bodies(messages, folder / "calm"), write_bodies(urgent, folder / "urgent")
    runs: dict[str, Measured] = {}
    for connections in CLOSED:
        plan = Plan(0, connections, length.closed, length.warmup)
        runs[f"closed {connections}"] = measure(binary, server, calm, plan)
    saturation = max(runs[f"closed {c}"].load.good_rate for c in CLOSED)
    for share in LOADS:
        plan = Plan(share * saturation, _OPEN_CONNECTIONS, length.open, length.warmup, seed=number)
        runs[f"open {share:.0%}"] = measure(binary, server, calm, plan)
    bad = _bad_ones(server.port, contestant, workload, messages[1:], length.bursts)
    plan = Plan(OVERLOAD * saturation, _OVERLOAD_CONNECTIONS, length.overload, length.warmup, DEADLINE_MS / 1e3, number)
    runs["overload"] = measure(binary, server, hurried, plan)
    time.sleep(_AFTER_S - DEADLINE_MS / 1e3)
    probe = ask(server.port, messages[0])
    runs["after"] = measure(binary, server, calm, Plan(0, 32, length.closed / 2))
    processes, end_mb = len(server.pids()), server.pss_mb()
    stop_s, left = server.stop()
    return Record(
        round=number,
        workload=workload.name,
        contestant=contestant.name,
        start_s=start_s,
        stop_s=stop_s,
        left_on_sigterm=left,
        worst_difference=difference,
        deferred=deferred,
        idle_cores=idle_cores,
        idle_mb=idle_mb,
        end_mb=end_mb,
        processes=processes,
        body_bytes=len(messages[0].body),
        saturation=saturation,
        runs=runs,
        bad=bad,
        after_status=probe.status,
        after_ms=probe.seconds * 1e3,
    )


def check_answers(
    server: Server, contestant: Contestant, workload: Workload, messages: list[Message]
) -> tuple[float, int | None]:
    """Largest difference of P(high) from the ONNX file's, and cases deferred (None: not told). Raises Disagreement.

    Deferred cases are the original's to answer: they are not compared.
    """
    worst, deferred, told = 0.0, 0, False
    for message, logits in zip(messages, workload.logits, strict=True):
        answer = ask(server.port, message)
        if answer.status != 200:
            raise Disagreement(f"a good request got {answer.status}: {answer.body[:200]!r}")
        given = contestant.wire.read(answer.body, answer.header)
        if b'"deferred"' in answer.body:
            told, asked = True, _was_deferred(answer.body, answer.header)
            deferred += asked
            if asked:
                continue
        found = given[1] if contestant.wire.probabilities else softmax(given)[1]
        worst = max(worst, abs(float(found) - float(softmax(logits)[1])))
    if worst > _AGREES:
        raise Disagreement(f"its probabilities differ from the model's by up to {worst:.3f}")
    return worst, deferred if told else None


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Of two or more logits (K,)."""
    e: NDArray[np.float64] = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    total: np.float64 = e.sum()
    shares: NDArray[np.float64] = e / total
    return shares


def _was_deferred(body: bytes, header: Callable[[str], str | None]) -> bool:
    """The last output of a guarded artifact: in JSON a list of one, in binary data the last byte."""
    if header("inference-header-content-length") is not None:
        return body[-1] == 1
    return b'"deferred"' in body and b"[true]" in body


def _idle(server: Server, seconds: float) -> tuple[float, float]:
    time.sleep(0.2)
    before, start = server.cpu_s(), time.monotonic()
    time.sleep(seconds)
    cores = (server.cpu_s() - before) / (time.monotonic() - start)
    return cores, server.pss_mb()


def _bad_ones(
    port: int, contestant: Contestant, workload: Workload, good: list[Message], count: int
) -> dict[str, tuple[Burst, ...]]:
    found = {}
    for kind in BAD:
        bad = contestant.wire.bad(kind, workload.cases[0], workload.format)
        if bad is not None:
            found[kind] = tuple(burst(port, good, bad, seed) for seed in range(count))
            # What a burst leaves behind is not the next kind's.
            time.sleep(0.3)
    return found
