"""A soak of the real server: requests of many kinds, clients that leave, executors killed, artifacts replaced.

Every request must be answered exactly once, with what a batch of one answers, and by the version that the answer names;
at the end nothing waits or runs, and memory is where it was.

    python benchmarks/soak.py --requests 1000000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "support")]

from served import FEATURES, build_artifact, coarse_model, free_port, risk_model  # noqa: E402

import primum  # noqa: E402
from primum.artifact.manifest import artifact_digest  # noqa: E402

POOL = 400
CLIENTS = 48
KILL_EVERY_S, RELOAD_EVERY_S = 4.0, 7.0
CLOSE = 1e-5


class Expected:
    """What each version of a model answers for each case of the pool, asked alone."""

    def __init__(self, cases: np.ndarray) -> None:
        self.cases = cases
        self.bodies = [json.dumps([round(float(value), 6) for value in case.ravel()]) for case in cases]
        self.answers: dict[str, np.ndarray] = {}

    def add(self, folder: Path) -> None:
        """Learn a version."""
        given = np.asarray([json.loads(body) for body in self.bodies], np.float32).reshape(self.cases.shape)
        with primum.load(folder) as predictor:
            rows = [predictor.predict_tensor(case[None])[0] for case in given]
        self.answers[artifact_digest(folder)[:12]] = np.asarray(rows)


class Client:
    """One connection, one request at a time; opened anew after it was closed."""

    def __init__(self, port: int, models: dict[str, Expected], seed: int, tally: Counter[str]) -> None:
        self._port, self._models, self._tally = port, models, tally
        self._random = random.Random(seed)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._sent = 0

    async def run(self, left: list[int]) -> None:
        """Ask until nothing is left to ask."""
        while left[0] > 0:
            left[0] -= 1
            await self._one()
        await self._close()

    async def _one(self) -> None:
        name = self._random.choice(list(self._models))
        kind = self._random.choices(("good", "shape", "garbled", "leave", "hurry"), (92, 2, 1, 3, 2))[0]
        which = [self._random.randrange(POOL) for _ in range(self._random.choice((1, 1, 1, 1, 2, 5, 40)))]
        body = self._body(name, which, kind)
        head = f"POST /v2/models/{name}/infer HTTP/1.1\r\nhost: soak\r\ncontent-length: {len(body)}\r\n\r\n"
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        assert self._reader is not None
        self._writer.write(head.encode() + body)
        self._tally["sent"] += 1
        if kind == "leave":
            await asyncio.sleep(self._random.random() * 0.004)
            await self._close()
            self._tally["left"] += 1
            return
        status, answer = await asyncio.wait_for(_answer(self._reader), 60)
        self._tally[f"{kind} {status}"] += 1
        self._check(name, which, kind, status, answer)

    def _body(self, name: str, which: list[int], kind: str) -> bytes:
        self._sent += 1
        expected = self._models[name]
        shape = [len(which), *expected.cases.shape[1:]]
        if kind == "shape":
            shape[-1] += 1
        timeout = 1 if kind == "hurry" else 0
        parameters = {"priority": self._random.randrange(4), "timeout": timeout}
        data = ",".join(expected.bodies[case][1:-1] for case in which)
        head = json.dumps({"id": str(self._sent), "parameters": parameters})[:-1]
        one = f'{{"name":"input","shape":{json.dumps(shape)},"datatype":"FP32","data":[{data}]}}'
        body = f'{head},"inputs":[{one}]}}'.encode()
        return body[: len(body) // 2] if kind == "garbled" else body

    def _check(self, name: str, which: list[int], kind: str, status: int, answer: dict[str, Any]) -> None:
        if kind in ("shape", "garbled"):
            assert status == 400 and answer["error"], (kind, status, answer)
            return
        if status != 200:
            assert status in (503, 504) and answer["error"], (kind, status, answer)
            return
        assert answer["id"] == str(self._sent), "an answer to another request"
        wanted = self._models[name].answers[answer["model_version"]][which]
        found = np.reshape(answer["outputs"][0]["data"], wanted.shape)
        assert np.abs(found - wanted).max() < CLOSE, "another patient's answer"

    async def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._reader = self._writer = None


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    length = next(int(line[15:]) for line in lines if line.lower().startswith("content-length:"))
    return int(lines[0].split()[1]), json.loads(await reader.readexactly(length))


def _children(process: int) -> list[int]:
    """Processes below another."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == process:
                    found.append(int(entry.name))
            except (OSError, IndexError):
                continue
    return found


def _memory(process: int) -> float:
    """Resident MB of a process and its children."""
    total = 0.0
    for one in (process, *_children(process)):
        try:
            status = Path(f"/proc/{one}/status").read_text()
            total += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
        except (OSError, StopIteration):
            continue
    return total


async def _faults(port: int, process: int, swap: dict[str, list[Path]], tally: Counter[str]) -> None:
    """Kill executors and replace artifacts, for ever."""
    turn, killed, reloaded = 0, time.monotonic(), time.monotonic()
    while True:
        await asyncio.sleep(0.25)
        if time.monotonic() - killed > KILL_EVERY_S and (children := _children(process)):
            os.kill(random.choice(children), signal.SIGKILL)
            killed = time.monotonic()
            tally["executors killed"] += 1
        if time.monotonic() - reloaded > RELOAD_EVERY_S:
            turn += 1
            for name, (place, *versions) in swap.items():
                await asyncio.to_thread(_replace, place, versions[turn % len(versions)])
                done = await asyncio.to_thread(_post, port, f"/v2/repository/models/{name}/load")
                tally[f"reloads {done}"] += 1
            reloaded = time.monotonic()


def _replace(place: Path, version: Path) -> None:
    fresh = place.with_name(place.name + ".new")
    shutil.copytree(version, fresh)
    old = place.with_name(place.name + ".old")
    place.rename(old)
    fresh.rename(place)
    shutil.rmtree(old)


def _post(port: int, path: str) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", b"{}", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _metrics(port: int) -> list[tuple[str, float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    return [(line.rsplit(" ", 1)[0], float(line.rsplit(" ", 1)[1])) for line in text.splitlines() if line[:1] != "#"]


async def soak(
    port: int, process: int, models: dict[str, Expected], swap: dict[str, list[Path]], requests: int
) -> None:
    """Ask, and report."""
    tally: Counter[str] = Counter()
    left = [requests]
    faults = asyncio.create_task(_faults(port, process, swap, tally))
    start, memory = time.monotonic(), []

    async def watch() -> None:
        while True:
            memory.append(_memory(process))
            done = requests - left[0]
            print(f"{done:>9} asked, {done / (time.monotonic() - start):.0f}/s, {memory[-1]:.0f} MB", flush=True)
            await asyncio.sleep(10)

    watching = asyncio.create_task(watch())
    clients = [Client(port, models, seed, tally) for seed in range(CLIENTS)]
    asking = asyncio.gather(*(client.run(left) for client in clients))
    await asyncio.wait((asking, faults), return_when=asyncio.FIRST_COMPLETED)
    faults.cancel()
    await asking
    watching.cancel()
    await asyncio.sleep(2)
    _judge(port, tally, memory, time.monotonic() - start)


def _judge(port: int, tally: Counter[str], memory: list[float], seconds: float) -> None:
    for name, count in sorted(tally.items()):
        print(f"{name:>24}: {count}")
    metrics = _metrics(port)
    waiting = sum(v for name, v in metrics if name.startswith(("primum_queue_requests", "primum_inference_running")))
    early = np.median(memory[len(memory) // 5 : 2 * len(memory) // 5 + 1])
    late = np.median(memory[-max(1, len(memory) // 5) :])
    answered = sum(count for name, count in tally.items() if name.split()[-1].isdigit() and "reload" not in name)
    print(
        f"{answered} answered and {tally['left']} left of {tally['sent']} in {seconds:.0f} s; "
        f"memory {early:.0f} -> {late:.0f} MB"
    )
    assert answered + tally["left"] == tally["sent"], "a request without an answer"
    assert waiting == 0, "something still waits or runs"
    good = tally["good 200"] / sum(count for name, count in tally.items() if name.startswith("good "))
    assert good > 0.9, f"only {good:.1%} of the good requests were answered well"
    assert late < 1.1 * early + 20, "memory grew"
    print(f"{good:.2%} of the good requests answered well; nothing was mixed, lost or left behind")


def main() -> None:
    """Build the artifacts, start the server, soak it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    asked = parser.parse_args()
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as made:
        base = Path(made)
        first = build_artifact(base / "first")
        second = build_artifact(base / "second", coarse_model())
        guarded = build_artifact(base / "guarded", coarse_model(), reference=risk_model())
        cases = draw.normal(0, 1, (POOL, FEATURES))
        models = {"inline": Expected(cases), "apart": Expected(cases), "guarded": Expected(cases)}
        for name, versions in (("inline", (first, second)), ("apart", (first, second)), ("guarded", (guarded,))):
            for version in versions:
                models[name].add(version)
        swap = {}
        for name in ("inline", "apart"):
            shutil.copytree(first, base / name)
            swap[name] = [base / name, first, second]
        _serve(base, models, swap, asked.requests)


def _serve(base: Path, models: dict[str, Expected], swap: dict[str, list[Path]], requests: int) -> None:
    port = free_port()
    folders = [f"{name}={base / name}" for name in models]
    command = [sys.executable, "-m", "primum.cli.main", "serve", *folders, "--port", str(port), "--isolation", "always"]
    with subprocess.Popen([*command, "--audit", str(base / "audit.jsonl")]) as process:
        try:
            for _ in range(600):
                try:
                    _metrics(port)
                    break
                except OSError:
                    time.sleep(0.2)
            asyncio.run(soak(port, process.pid, models, swap, requests))
        finally:
            process.terminate()
            process.wait(60)
    from primum.serving.security.audit import verify_audit

    state = verify_audit(base / "audit.jsonl")
    print(f"audit log: {state.records} records, its chain is whole")


if __name__ == "__main__":
    main()
