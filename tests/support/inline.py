"""The worker of `primum.runtimes.isolated`, in this process: the same requests and pickles, none of the start-up.

For studies on many tasks; that a process of its own takes a crash, a hang or a leak is shown by tests of its own.
"""

import contextlib
import io
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import cloudpickle
import pytest
import torch

from primum.cli.main import run
from primum.errors import BudgetSpent, StorageError, TrialError
from primum.runtimes.isolated import Isolated
from primum.runtimes.worker import Worker, _answer

_USERS = ("study.runner", "workflows.examine", "workflows.explain", "workflows.mixed", "workflows.original")


class Inline(Isolated):
    def __init__(self, timeout: float = 900.0, deadline: float | None = None) -> None:
        self._worker, self._deadline = Worker(), deadline

    def close(self) -> None:
        self._worker = Worker()

    def __exit__(self, *error: object) -> None:
        self.close()

    def _request(self, method: str, **arguments: Any) -> Any:
        sent = pickle.loads(cloudpickle.dumps((method, arguments)))
        kind, value = pickle.loads(pickle.dumps(_answer(self._worker, *sent)))
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise BudgetSpent(f"budget: {method} ended too late")
        if kind != "ok":
            raise (StorageError if kind == "storage" else TrialError)(str(value))
        return value


def patch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of a study runs here, on as many of torch's threads as this process was given."""
    for runtime in ("eager", "torchscript"):
        monkeypatch.setattr(f"primum.runtimes.{runtime}.cores", torch.get_num_threads)
    for user in _USERS:
        monkeypatch.setattr(f"primum.{user}.Isolated", Inline)


def primum(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The `primum` command, from its entry point to its exit status, without a process of its own."""
    argv = ["primum", *map(str, arguments)]
    out, errors, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(cwd or Path.cwd()),
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
    ):
        try:
            run()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(argv, code, out.getvalue(), errors.getvalue())
