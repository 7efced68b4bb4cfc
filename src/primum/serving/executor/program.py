"""Networks of artifacts, open to be run by the batcher: where they run is behind one contract."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from primum.artifact.predictor import Proven
from primum.batching.model_call import Prepared
from primum.batching.request import Item
from primum.errors import OutputCountError

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


class Restart(StrEnum):
    """Why a process was replaced."""

    DIED = "died"
    HUNG = "hung"
    """It gave no answer in time, or nobody waited for it any longer, and was ended."""
    OUT_OF_MEMORY = "out_of_memory"
    """The machine had no memory left and ended it."""


@dataclass(frozen=True)
class ExecutorStats:
    """Where networks run, and how that goes."""

    isolation: str
    """`process` or `none`."""
    wanted: int
    """Processes that there should be; 0 where networks run in the server's own."""
    alive: int
    """Processes that can run every open network now."""
    restarts: Mapping[Restart, int] = field(default_factory=dict)
    failing: str = ""
    """Why a process cannot be made ready; empty where none is failing."""


class Executor(Protocol):
    """Opens networks and runs them."""

    is_async: bool
    """`run` is a coroutine function."""

    def open(self, network: Network) -> Program:
        """Load a network and run it once. Blocks; raises as `primum.load`."""

    def run(self, asked: Asked) -> NDArray[np.float64] | Awaitable[NDArray[np.float64]]:
        """Rows of answers (N, width) for rows of one program (N, *input_shape)."""

    def can_run(self, program: Program) -> bool:
        """Whether a call of it need not wait for a process to be replaced."""

    def close(self, program: Program) -> None:
        """Release a network."""

    def stop(self) -> None:
        """Release everything."""

    def stats(self) -> ExecutorStats:
        """How it goes."""


class Asked:
    """Rows for one program, float32 (N, *input_shape), in one or more parts; a slice of it is of fewer rows."""

    __slots__ = ("parts", "program")

    def __init__(self, program: Program, *parts: NDArray[np.float32]) -> None:
        self.program, self.parts = program, parts

    @property
    def rows(self) -> NDArray[np.float32]:
        """All rows; a copy where there are several parts, so that who copies anyway takes the parts."""
        return self.parts[0] if len(self.parts) == 1 else np.concatenate(self.parts)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, which: int | slice) -> Asked:
        return Asked(self.program, self.rows[which] if isinstance(which, slice) else self.rows[which][None])


class ProgramCall:
    """How the batcher calls programs: rows of one program share a batch, never those of two."""

    def __init__(self, executor: Executor) -> None:
        self.call, self.is_async = executor.run, executor.is_async

    def prepare(self, value: Asked) -> Prepared:
        """One case."""
        return Prepared(value.rows, value.program, 1)

    def split(self, values: Asked, rows: int) -> list[Prepared]:
        """Cases in order, in pieces of at most `rows` rows."""
        whole = values.rows
        pieces = [whole[start : start + rows] for start in range(0, len(whole), rows)]
        return [Prepared(piece, values.program, len(piece)) for piece in pieces]

    def gather(self, items: Sequence[Item]) -> Asked:
        """All items' rows."""
        program = items[0].bucket
        assert isinstance(program, Program)
        return Asked(program, *(item.payload for item in items))

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
