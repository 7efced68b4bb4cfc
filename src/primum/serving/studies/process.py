"""`primum optimize` in a process of its own, which comes after everything else that wants the processor."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from primum.files import storage

_NICE = 15
_GRACE_S = 5.0
_TAIL = 4096


class StudyProcess:
    """Runs one study. `notes`: the folder for what it prints, which only this user may read."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes
        self._process: asyncio.subprocess.Process | None = None

    @property
    def named(self) -> tuple[int, int]:
        """Number and beginning of the process that runs."""
        assert self._process is not None
        return self._process.pid, began(self._process.pid) or 0

    async def start(self, arguments: Sequence[str], base: Path) -> None:
        """Begin, in the folder `base`. Raises StorageError."""
        with storage(self._notes):
            self._notes.mkdir(parents=True, exist_ok=True, mode=0o700)
            output, log = ((self._notes / name).open("wb") for name in ("result.json", "log.txt"))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
        command = [sys.executable, "-m", "primum.cli.main", "optimize", *arguments, "--json"]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                f"--progress={self._notes / 'progress.jsonl'}",
                cwd=base,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        finally:
            output.close()
            log.close()
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICE)

    async def wait(self) -> int:
        """Its exit status, when it ends; what it left behind is ended too."""
        assert self._process is not None
        status = await self._process.wait()
        _signal(self._process.pid, signal.SIGKILL)
        return status

    async def end(self) -> None:
        """End it and all that it started."""
        if self._process is None or self._process.returncode is not None:
            return
        _signal(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _GRACE_S)
        _signal(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    def output(self) -> dict[str, Any]:
        """What it printed. Raises ValueError where that is no JSON object."""
        found: dict[str, Any] = json.loads((self._notes / "result.json").read_bytes())
        return found


def read_progress(notes: Path) -> dict[str, Any] | None:
    """Where a study is: stage, done, total; None before its first stage."""
    try:
        with (notes / "progress.jsonl").open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines = [line for line in file.read().split(b"\n")[:-1] if line]
        found: dict[str, Any] = json.loads(lines[-1])
        return found
    except (OSError, ValueError, IndexError):
        return None


def began(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine did; None where there is none, or no /proc to ask."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def end_left_over(process: tuple[int, int]) -> bool:
    """End the group of a process that outlived the server that started it; whether there was one."""
    pid, beginning = process
    if not beginning or began(pid) != beginning:
        return False
    _signal(pid, signal.SIGKILL)
    return True


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
