"""The parent side of a fresh process: a crash, a hang or a leak of one candidate stays its own."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.errors import BudgetSpent, MissingExtra, StorageError, TrialError
from primum.runtimes.worker import write_frame

_AT_WORK = {"call": "building", "open": "loading", "predict": "answering the cases", "time": "timing"}
"""What a request is called in a reason."""


class Isolated:
    """A child process. Every request raises TrialError where the child refuses, fails, dies or outlasts `timeout` s.

    BudgetSpent where it is at work at `deadline`, of `time.monotonic`.
    """

    def __init__(self, timeout: float = 900.0, deadline: float | None = None) -> None:
        self._timeout, self._deadline = timeout, math.inf if deadline is None else deadline
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join([p or str(Path.cwd()) for p in sys.path])
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-m", "primum.runtimes.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )

    def call(self, function: str, **arguments: Any) -> Any:
        """Run `module:function` of primum in the child."""
        return self._request("call", function=function, arguments=arguments)

    def open(
        self, folder: Path, example: NDArray[np.float32], factory: Callable[[], Any] | None = None
    ) -> dict[str, Any]:
        """Load an artifact and run it once: load_ms, first_ms, proven."""
        return dict(self._request("open", folder=folder, factory=factory, example=example))

    def predict(self, inputs: Path, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Raw outputs (len(rows), outputs) for rows of a preprocessed .npy file."""
        return np.asarray(self._request("predict", inputs=inputs, rows=rows))

    def predict_fast(self, inputs: Path, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """As `predict`, of a guarded artifact's fast network alone, which defers nothing."""
        return np.asarray(self._request("predict_fast", inputs=inputs, rows=rows))

    def time(self, inputs: Path, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Milliseconds a call, shape (len(rows),)."""
        return np.asarray(self._request("time", inputs=inputs, rows=rows))

    def preemptions(self) -> float:
        """Involuntary context switches per timed call so far."""
        return float(self._request("preemptions"))

    def stages(self, images: list[Any]) -> dict[str, NDArray[np.float64]]:
        """Milliseconds by stage for raw images."""
        return dict(self._request("stages", images=images))

    def peak_memory(self) -> int:
        """Largest resident size of the child so far, in bytes."""
        return int(self._request("peak_memory"))

    def close(self) -> None:
        """End the child."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Isolated:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the child."""
        if kind is not None:
            self._process.kill()
        self.close()

    def _request(self, method: str, **arguments: Any) -> Any:
        try:
            import cloudpickle
        except ImportError as error:
            raise MissingExtra("running candidates in processes of their own", "optimize") from error
        assert self._process.stdin is not None
        try:
            write_frame(self._process.stdin, cloudpickle.dumps((method, arguments)))
            kind, value = pickle.loads(self._receive(method))
        except (BrokenPipeError, ValueError) as error:
            raise TrialError(self._death()) from error
        if kind == "storage":
            raise StorageError(str(value))
        if kind != "ok":
            raise TrialError(str(value))
        return value

    def _receive(self, method: str) -> bytes:
        assert self._process.stdout is not None
        descriptor, began = self._process.stdout.fileno(), time.monotonic()
        deadline = min(began + self._timeout, self._deadline)
        data, wanted = bytearray(), 8
        while len(data) < wanted:
            ready, _, _ = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                self._process.kill()
                if deadline == self._deadline:
                    raise BudgetSpent(
                        f"budget: cut off {time.monotonic() - began:.0f} s into {_AT_WORK.get(method, method)}"
                    )
                raise TrialError(f"{method} took longer than {self._timeout:.0f} s and was ended")
            chunk = os.read(descriptor, 1 << 20)
            if not chunk:
                raise TrialError(self._death())
            data += chunk
            if wanted == 8 and len(data) >= 8:
                wanted = 8 + int.from_bytes(data[:8], "big")
        return bytes(data[8:])

    def _death(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return f"the candidate's process died ({how}){': ' + lines[-1][:200] if lines else ''}"
