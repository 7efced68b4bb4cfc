"""A process that runs networks for the server that started it, and ends with it."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.artifact.manifest import artifact_digest, read_manifest
from primum.artifact.predictor import Session, run_rows
from primum.batching.recovery import ran_out_of_memory
from primum.errors import IntegrityError, PrimumError
from primum.serving.executor.answers import Answers
from primum.serving.executor.channel import (
    REPLY,
    REQUEST,
    Segment,
    Status,
    exactly,
    receive_message,
    send_message,
)
from primum.serving.executor.program import Network

Opener = Callable[[Network], tuple[Session, Answers]]
_PR_SET_PDEATHSIG = 1
_OOM_SCORE = "500"
_TIMED_CALLS = 20
_TIMED_S = 0.05


class Networks:
    """The open networks of this process. Calls run in the main thread; another opens and closes meanwhile."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._open: dict[int, tuple[Session, Answers, tuple[int, ...]]] = {}
        self._calling = threading.Lock()

    def open(self, key: int, folder: str, digest: str, reference: bool, factory: str | None) -> dict[str, Any]:
        """Verify an artifact, be sure that it is the one meant, and open a network of it."""
        path = Path(folder)
        manifest = read_manifest(path)
        if artifact_digest(path) != digest:
            raise IntegrityError(f"{path}: the artifact is another than when it was first opened")
        network = Network(path, manifest, reference, None if factory is None else named(factory))
        session, answers = self._opener(network)
        shape = manifest.signature.input_shape
        self._open[key] = (session, answers, shape)
        return {"proven": asdict(session.proven), "alone_s": _alone(session, answers, shape)}

    def close(self, key: int) -> None:
        """Release a network, once no call runs."""
        with self._calling:
            self._open.pop(key)[0].close()

    def run(self, key: int, count: int, segment: Segment) -> tuple[int, int]:
        """Answer `count` rows that lie in `segment`; the rows and columns of the answers, which then lie there."""
        with self._calling:
            session, answers, shape = self._open[key]
            given = answers.rows(run_rows(session, segment.array(np.float32, count, *shape)))
        segment.array(np.float64, *given.shape)[...] = given
        return given.shape[0], given.shape[1]


def _alone(session: Session, answers: Answers, shape: tuple[int, ...]) -> float:
    """Seconds of a call with one case: the fastest tenth of a few."""
    case: NDArray[np.float32] = np.zeros((1, *shape), np.float32)
    times: list[float] = []
    while len(times) < _TIMED_CALLS and sum(times) < _TIMED_S:
        start = perf_counter()
        answers.rows(run_rows(session, case))
        times.append(perf_counter() - start)
    return sorted(times)[len(times) // 10]


def answer_calls(calls: socket.socket, segment: Segment, networks: Networks) -> None:
    """Answer one call after the other until the server is gone."""
    while (request := exactly(calls, REQUEST.size)) is not None:
        number, key, count, size = REQUEST.unpack(request)
        segment.follow(size)
        segment.taken = number
        try:
            reply = (Status.OK, *networks.run(key, count, segment))
        # Whatever a runtime raises is this call's alone. Its text might quote a patient: it stays here.
        except Exception as error:  # noqa: BLE001
            told = str(error) if isinstance(error, PrimumError) else f"the model failed ({type(error).__name__})"
            status = Status.OUT_OF_MEMORY if ran_out_of_memory(error) else Status.FAILED
            reply = (status, segment.put_text(told), 0)
        calls.sendall(REPLY.pack(number, *reply))


def obey(control: socket.socket, networks: Networks) -> None:
    """Open and close networks as the server says; end this process, whatever it is at, when the server is gone."""
    with contextlib.suppress(OSError):
        while (order := receive_message(control)) is not None:
            do = order.pop("do")
            if do == "close":
                networks.close(**order)
            else:
                send_message(control, _tried(networks, order))
    os._exit(0)


def _tried(networks: Networks, order: dict[str, Any]) -> dict[str, Any]:
    try:
        return networks.open(**order)
    except PrimumError as error:
        return {"error": type(error).__name__, "text": str(error)}
    # As above; a model is opened before any patient's case is seen, so its words may be told.
    except Exception as error:  # noqa: BLE001
        first = (str(error).strip().splitlines() or [""])[0]
        return {"error": "", "text": f"the model cannot be opened ({type(error).__name__}: {first[:200]})"}


def named(reference: str) -> Callable[..., Any]:
    """What `module:name` names."""
    module, _, name = reference.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def bind_to(parent: int) -> None:
    """End when the process `parent` does, even while a call hangs; the signals that end it are its own affair."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # Where memory ends, one of these processes goes, not the server.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    if os.getppid() != parent:
        os._exit(1)


def restrict(memory_bytes: int) -> None:
    """No core file, which would hold patients' data; at most `memory_bytes` of private memory (0: no limit).

    RLIMIT_DATA counts private writable mappings (Linux 4.7): not the gigabytes of address space that runtimes reserve
    and weights mapped from files, as RLIMIT_AS would.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def main(arguments: Sequence[str]) -> None:
    """Descriptors of control, calls and segment; the parent's id; bytes of memory; the opener as `module:function`."""
    *numbers, opener = arguments
    control, calls, segment, parent, memory = map(int, numbers)
    bind_to(parent)
    restrict(memory)
    telling = socket.socket(fileno=control)
    try:
        networks = Networks(named(opener))
    # Said to the server, which says why it has no process.
    except Exception as error:  # noqa: BLE001
        send_message(telling, {"error": "", "text": f"{type(error).__name__}: {error}"})
        return
    send_message(telling, {})
    threading.Thread(target=obey, args=(telling, networks), daemon=True).start()
    answer_calls(socket.socket(fileno=calls), Segment(segment), networks)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
