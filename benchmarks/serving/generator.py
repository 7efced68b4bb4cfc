"""Runs load.c against a server, and says what its figures are worth."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import Server, busy_s
from wires import Message

DEADLINE_MS = 100.0
LATE_SHARE, OWN_CORES, OTHER_CORES = 0.01, 0.9, 0.25
"""A run is INVALID where more than this share of arrivals was taken up over 1 ms late, the generator used more than
this many cores, or work that belongs to neither it nor the server used more than this many."""
_SOURCE = Path(__file__).parent / "load.c"


@dataclass(frozen=True)
class Plan:
    """How to ask. `rate` 0: closed loop."""

    rate: float
    connections: int
    seconds: float
    warmup: float = 0.0
    drain: float = 1.0
    seed: int = 1


@dataclass(frozen=True)
class Load:
    """What load.c counted. `status`: HTTP status to number of answers; latencies (ms) are of the answers 200."""

    rate: float
    seconds: float
    wall_s: float
    cpu_s: float
    offered: int
    errors: int
    unanswered: int
    never_sent: int
    refused: int
    within: int
    """Answers 200 within DEADLINE_MS of the intended time."""
    late: int
    """Arrivals that the generator took up more than 1 ms late."""
    status: dict[str, int]
    latency_ms: dict[str, float]
    lag_ms: dict[str, float]
    first_failure: str = ""

    @property
    def good_rate(self) -> float:
        """Answers 200 a second."""
        return self.status.get("200", 0) / self.seconds

    @property
    def goodput(self) -> float:
        """Answers 200 in time a second."""
        return self.within / self.seconds

    @property
    def bad(self) -> int:
        """Requests that got something else than 200, or nothing."""
        return self.offered - self.status.get("200", 0)


@dataclass(frozen=True)
class Fault:
    """Why a run is INVALID, and by how much."""

    what: str
    value: float
    unit: str

    def text(self) -> str:
        """In words."""
        return f"{self.what} {self.value:{self.unit}}"


@dataclass(frozen=True)
class Measured:
    """One run and the CPU cores that it took; `invalid`: why its figures are worth nothing, where they are not."""

    load: Load
    server_cores: float
    generator_cores: float
    other_cores: float
    invalid: tuple[Fault, ...] = ()


def parse(line: str) -> Load:
    """Of load.c's output. Raises ValueError where its counts do not add up."""
    data: dict[str, Any] = json.loads(line)
    load = Load(**data)
    ended = sum(load.status.values()) + load.errors
    waiting = load.unanswered + load.never_sent if load.rate else 0
    if ended + waiting != load.offered:
        raise ValueError(f"{load.offered} requests, but {ended} ended and {waiting} did not")
    return load


def faults(load: Load, generator_cores: float, other_cores: float) -> tuple[Fault, ...]:
    """Why a run is INVALID; empty where it is valid."""
    found = []
    if load.offered == 0:
        found.append(Fault("requests that were asked or answered:", 0, ".0f"))
    arrivals = int(load.lag_ms.get("n", 0))
    if arrivals and load.late > LATE_SHARE * arrivals:
        found.append(Fault("arrivals that the generator took up over 1 ms late:", load.late / arrivals, ".1%"))
    if generator_cores > OWN_CORES:
        found.append(Fault("cores of the generator, which may have been the limit:", generator_cores, ".2f"))
    if other_cores > OTHER_CORES:
        found.append(Fault("cores of other work:", other_cores, ".2f"))
    return tuple(found)


def build(folder: Path) -> Path:
    """Compile load.c. Raises subprocess.CalledProcessError with the compiler's words."""
    binary = folder / "load"
    subprocess.run(["cc", "-O2", "-std=c11", str(_SOURCE), "-o", str(binary), "-lm"], check=True)
    return binary


def write_bodies(messages: Sequence[Message], folder: Path) -> list[str]:
    """The arguments of load.c that ask these messages in turn. All go to one path with the same headers."""
    folder.mkdir(parents=True, exist_ok=True)
    first = messages[0]
    if any((m.path, m.type, m.headers) != (first.path, first.type, first.headers) for m in messages):
        raise ValueError("the messages differ in more than their bodies")
    arguments = ["--path", first.path, "--type", first.type]
    for header in first.headers:
        arguments += ["--header", header]
    for number, message in enumerate(messages):
        (folder / f"{number:04}").write_bytes(message.body)
        arguments += ["--body", str(folder / f"{number:04}")]
    return arguments


def measure(binary: Path, server: Server, request: list[str], plan: Plan) -> Measured:
    """Put load on a server."""
    command = [str(binary), "--port", str(server.port), *request]
    for name in ("rate", "connections", "warmup", "seconds", "drain", "seed"):
        command += [f"--{name}", str(getattr(plan, name))]
    before, all_before = server.cpu_s(), busy_s()
    limit = plan.warmup + plan.seconds + plan.drain + 60
    done = subprocess.run(
        [*command, "--deadline-ms", str(DEADLINE_MS)], check=True, capture_output=True, text=True, timeout=limit
    )
    all_after, after = busy_s(), server.cpu_s()
    load = parse(done.stdout)
    used, own = (after - before) / load.wall_s, load.cpu_s / load.wall_s
    others = max(0.0, (all_after - all_before) / load.wall_s - used - own)
    return Measured(load, used, own, others, faults(load, own, others))
