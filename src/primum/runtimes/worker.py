"""The child side of a fresh process: reads requests on stdin, answers on stdout, ends when its parent does.

Frames are pickles between a process and the child that it started itself; nothing here reads a pickle from a file.
"""

from __future__ import annotations

import errno
import importlib
import os
import pickle
import resource
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from primum.artifact.guard import GuardedSession
from primum.artifact.manifest import read_manifest
from primum.artifact.predictor import Predictor, Session
from primum.errors import PrimumError, StorageError
from primum.runtimes.load import open_session
from primum.task import Task

_PARENT_CHECK_S = 1.0
_REWARM = 2
"""Calls thrown away at the start of each timed block: other processes ran in between."""


class Worker:
    """The requests a child answers; each public method is one."""

    def __init__(self) -> None:
        self._predictor: Predictor | None = None
        self._preemptions = self._calls = 0

    def call(self, function: str, arguments: dict[str, Any]) -> Any:
        """Run `module:function` of primum in this process."""
        module, _, name = function.partition(":")
        return getattr(importlib.import_module(module), name)(**arguments)

    def open(self, folder: Path, factory: Callable[[], Any] | None, example: NDArray[np.float32]) -> dict[str, Any]:
        """Load an artifact and run it once; times in ms, and what was read back from the runtime."""
        began = time.perf_counter()
        manifest = read_manifest(folder)
        session = open_session(folder, manifest, factory)
        loaded = time.perf_counter()
        session.run(example)
        first = time.perf_counter()
        self._predictor = Predictor(manifest, session)
        return {
            "load_ms": (loaded - began) * 1e3,
            "first_ms": (first - loaded) * 1e3,
            "proven": session.proven,
        }

    def predict(self, inputs: Path, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Raw outputs (len(rows), outputs), one case at a time as in service at batch 1."""
        return _one_by_one(self._loaded.session, inputs, rows)

    def predict_fast(self, inputs: Path, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """As `predict`, of a guarded artifact's fast network alone, which defers nothing."""
        session = self._loaded.session
        if not isinstance(session, GuardedSession):
            raise PrimumError("what is loaded in this process is not guarded")
        return _one_by_one(session.fast, inputs, rows)

    def time(self, inputs: Path, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Milliseconds of one call for each of `rows`, after a short re-warming."""
        array = np.load(inputs, mmap_mode="r")
        batches = [np.ascontiguousarray(array[row : row + 1]) for row in rows]
        run = self._loaded.session.run
        for batch in batches[:_REWARM]:
            run(batch)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        taken = np.empty(len(batches))
        for i, batch in enumerate(batches):
            began = time.perf_counter_ns()
            run(batch)
            taken[i] = time.perf_counter_ns() - began
        self._preemptions += resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - before
        self._calls += len(batches)
        return taken / 1e6

    def preemptions(self) -> float:
        """Times that the kernel took the processor away, per timed call so far: a measure of busy neighbours."""
        return self._preemptions / max(self._calls, 1)

    def stages(self, images: list[Any]) -> dict[str, NDArray[np.float64]]:
        """Milliseconds by stage for raw images (encoded bytes or arrays), one at a time from decode to probability."""
        from primum.data.decoding import decode_image

        predictor = self._loaded
        names = ("preprocessing", "feature_extraction", "classification", "total")
        taken = {name: np.empty(len(images)) for name in names}
        for i, item in enumerate([*images[:_REWARM], *images], -min(_REWARM, len(images))):
            marks = [time.perf_counter_ns()]
            image = decode_image(item, "image") if isinstance(item, bytes) else item
            batch = predictor.preprocess([image])
            marks.append(time.perf_counter_ns())
            raw = predictor.raw(batch)
            marks.append(time.perf_counter_ns())
            answers = predictor.manifest.signature.probabilities(raw)
            if predictor.manifest.signature.task is not Task.REGRESSION:
                predictor.decide(answers)
            marks.append(time.perf_counter_ns())
            if i >= 0:
                for name, span in zip(names, (*np.diff(marks), marks[-1] - marks[0])):
                    taken[name][i] = span / 1e6
        return taken

    def peak_memory(self) -> int:
        """Largest resident size so far, in bytes."""
        status = Path("/proc/self/status")
        if status.exists():
            # ru_maxrss survives exec and would show the parent's peak; the high-water mark of this image does not.
            line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
            return int(line.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    @property
    def _loaded(self) -> Predictor:
        if self._predictor is None:
            raise PrimumError("nothing is loaded in this process")
        return self._predictor


def _one_by_one(session: Session, inputs: Path, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    array = np.load(inputs, mmap_mode="r")
    return np.concatenate([session.run(np.ascontiguousarray(array[row : row + 1])) for row in rows])


def write_frame(stream: IO[bytes], data: bytes) -> None:
    """One length-prefixed frame."""
    stream.write(struct.pack("!Q", len(data)) + data)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """The next frame; None at the end of the stream."""
    header = stream.read(8)
    if len(header) < 8:
        return None
    size = struct.unpack("!Q", header)[0]
    data = stream.read(size)
    return data if len(data) == size else None


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not reach the pipe
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    worker = Worker()
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        method, arguments = pickle.loads(frame)
        write_frame(replies, pickle.dumps(_answer(worker, method, arguments)))


def _end_with(parent: int) -> None:
    """End this process, whatever it is at, once its parent is gone: a closed pipe is noticed only between requests."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)


def _answer(worker: Worker, method: str, arguments: dict[str, Any]) -> tuple[str, Any]:
    try:
        return "ok", getattr(worker, method)(**arguments)
    except StorageError as error:
        return "storage", str(error)
    except PrimumError as error:
        return "refused", str(error)
    # Whatever a runtime raises is the parent's to judge; the process lives on to say it.
    except Exception as error:  # noqa: BLE001
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return (
                "storage",
                "the disk is full; nothing half-written was left. Make room, or choose another --out",
            )
        first = (str(error).strip().splitlines() or [""])[0]
        return "failed", f"{type(error).__name__}: {first}"


if __name__ == "__main__":
    main()
