"""Networks in the server's own process: for those whose call is shorter than the way to another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from primum.artifact.predictor import Session, run_rows
from primum.runtimes.load import open_network
from primum.serving.executor.answers import Answers
from primum.serving.executor.program import Asked, ExecutorStats, Network, Program


class InProcess:
    """Runs networks here: what crashes one ends the server."""

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

    def can_run(self, program: Program) -> bool:
        """As Executor."""
        return program.key in self._open

    def close(self, program: Program) -> None:
        """As Executor."""
        self._open.pop(program.key)[0].close()

    def stop(self) -> None:
        """As Executor."""
        for session, _ in self._open.values():
            session.close()
        self._open.clear()

    def stats(self) -> ExecutorStats:
        """As Executor."""
        return ExecutorStats("none", 0, 0)


def opened(network: Network) -> tuple[Session, Answers]:
    """The session of a network, warmed by one call, and what makes answers of its outputs. Raises as `primum.load`."""
    session = open_network(network.folder, network.manifest, network.reference, network.factory)
    answers = Answers(network.manifest)
    answers.rows(run_rows(session, np.zeros((1, *network.manifest.signature.input_shape), np.float32)))
    return session, answers
