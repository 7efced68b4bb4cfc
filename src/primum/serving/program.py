"""Networks of artifacts, open to be run by the batcher: where they run is behind one contract."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from primum.artifact.predictor import Proven, Session, run_rows
from primum.batching.model_call import Prepared
from primum.batching.request import Item
from primum.errors import OutputCountError
from primum.runtimes.load import open_network
from primum.serving.answers import Answers

if TYPE_CHECKING:
    import torch

    from primum.artifact.manifest import Manifest


@dataclass(frozen=True)
class Network:
    """One network of an artifact that was read and checked: what fills the answers of `manifest`."""

    folder: Path
    manifest: Manifest
    reference: bool = False
    """The original of a guarded artifact, in place of its fast network."""
    factory: Callable[[], torch.nn.Module] | None = None


@dataclass(frozen=True)
class Program:
    """An open network, and the bucket of what it is asked: equal only to itself."""

    key: int
    """Tells it from all others of its executor, those that were closed among them."""
    proven: Proven = field(compare=False)
    """What really runs."""


class Executor(Protocol):
    """Opens networks and runs them."""

    is_async: bool
    """`run` is a coroutine function."""

    def open(self, network: Network) -> Program:
        """Load a network and run it once. Blocks; raises as `primum.load`."""

    def run(self, asked: Asked) -> NDArray[np.float64] | Awaitable[NDArray[np.float64]]:
        """Rows of answers (N, width) for rows of one program (N, *input_shape)."""

    def close(self, program: Program) -> None:
        """Release a network."""

    def stop(self) -> None:
        """Release everything."""


class Asked:
    """Rows for one program, float32 (N, *input_shape); a slice of it is of fewer rows."""

    __slots__ = ("program", "rows")

    def __init__(self, program: Program, rows: NDArray[np.float32]) -> None:
        self.program, self.rows = program, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: int | slice) -> Asked:
        return Asked(self.program, self.rows[which] if isinstance(which, slice) else self.rows[which][None])


class InProcess:
    """Runs networks in the server's own process: for those whose call is shorter than the way to another."""

    is_async = False

    def __init__(self) -> None:
        self._open: dict[int, tuple[Session, Answers]] = {}
        self._keys = 0

    def open(self, network: Network) -> Program:
        """As Executor."""
        session, answers = opened(network)
        self._keys += 1
        self._open[self._keys] = (session, answers)
        return Program(self._keys, session.proven)

    def run(self, asked: Asked) -> NDArray[np.float64]:
        """As Executor."""
        session, answers = self._open[asked.program.key]
        return answers.rows(run_rows(session, asked.rows))

    def close(self, program: Program) -> None:
        """As Executor."""
        self._open.pop(program.key)[0].close()

    def stop(self) -> None:
        """As Executor."""
        for session, _ in self._open.values():
            session.close()
        self._open.clear()


def opened(network: Network) -> tuple[Session, Answers]:
    """The session of a network, warmed by one call, and what makes answers of its outputs. Raises as `primum.load`."""
    session = open_network(network.folder, network.manifest, network.reference, network.factory)
    answers = Answers(network.manifest)
    answers.rows(run_rows(session, np.zeros((1, *network.manifest.signature.input_shape), np.float32)))
    return session, answers


class ProgramCall:
    """How the batcher calls programs: rows of one program share a batch, never those of two."""

    def __init__(self, executor: Executor) -> None:
        self.call, self.is_async = executor.run, executor.is_async

    def prepare(self, value: Asked) -> Prepared:
        """One case."""
        return Prepared(value.rows, value.program, 1)

    def split(self, values: Asked, rows: int) -> list[Prepared]:
        """Cases in order, in pieces of at most `rows` rows."""
        pieces = [values.rows[start : start + rows] for start in range(0, len(values), rows)]
        return [Prepared(piece, values.program, len(piece)) for piece in pieces]

    def gather(self, items: Sequence[Item]) -> Asked:
        """All items' rows."""
        rows = items[0].payload if len(items) == 1 else np.concatenate([item.payload for item in items])
        program = items[0].bucket
        assert isinstance(program, Program)
        return Asked(program, rows)

    def share(self, items: Sequence[Item], outputs: NDArray[np.float64]) -> Sequence[NDArray[np.float64]]:
        """Each item's rows of the answers (n, width)."""
        total = sum(item.cost for item in items)
        if len(outputs) != total:
            raise OutputCountError(total, len(outputs))
        if total == len(items):
            return [outputs[k : k + 1] for k in range(total)]
        shares, start = [], 0
        for item in items:
            shares.append(outputs[start : start + item.cost])
            start += item.cost
        return shares

    def join(self, outputs: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """(N, width)."""
        return np.concatenate(outputs)
