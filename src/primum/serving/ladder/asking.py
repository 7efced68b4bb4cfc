"""How a rung comes to its answers: its network through the batcher, and of a guarded one its original."""

from __future__ import annotations

from time import monotonic

import numpy as np
from numpy.typing import NDArray

from primum.batching import DynamicBatcher
from primum.serving.executor.program import Asked, Program
from primum.serving.ladder.rung import Rung


def reserved_for_original(timeout_s: float, fast_s: float, reference_s: float) -> float:
    """Seconds of a request's time that its fast answer leaves for the original, should it be deferred.

    A batch of each, half of the time at most. Without it, where requests wait until shortly before their deadlines,
    whoever is deferred would be too late for the original, and the narrowest cases would go unanswered first.
    """
    return min(fast_s + reference_s, timeout_s / 2)


class Asking:
    """Asks networks through one batcher. Answers are rows as `Answers` makes them (N, width)."""

    def __init__(self, batcher: DynamicBatcher) -> None:
        self._batcher = batcher
        self.guarded = self.deferred = 0
        """Cases of guarded artifacts that were answered, and how many of them the original answered."""

    async def rung(
        self, rung: Rung, rows: NDArray[np.float32], priority: int, timeout_s: float | None, original: bool = False
    ) -> NDArray[np.float64]:
        """The rung's answers for float32 (N, *input_shape); `original`: a guarded rung's original answers all cases.

        Raises as DynamicBatcher.
        """
        if rung.reference is None:
            return await self.program(rung.program, rows, priority, timeout_s)
        if original:
            answers = (await self.program(rung.reference, rows, priority, timeout_s)).copy()
            answers[:, -1] = 1.0
            self.guarded += len(rows)
            self.deferred += len(rows)
            return answers
        return await self._guarded(rung, rung.reference, rows, priority, timeout_s)

    async def program(
        self, program: Program, rows: NDArray[np.float32], priority: int, timeout_s: float | None
    ) -> NDArray[np.float64]:
        """One network's answers. Raises as DynamicBatcher."""
        asked, batcher = Asked(program, rows), self._batcher
        if len(rows) == 1:
            answer: NDArray[np.float64] = await batcher.predict(asked, priority=priority, timeout_s=timeout_s)
            return answer
        answers: NDArray[np.float64] = await batcher.predict_many(asked, priority=priority, timeout_s=timeout_s)
        return answers

    async def _guarded(
        self, rung: Rung, reference: Program, rows: NDArray[np.float32], priority: int, timeout_s: float | None
    ) -> NDArray[np.float64]:
        """The fast network's answers, with the original's in place of those that are too narrow; one deadline."""
        default = self._batcher.config.request_timeout_ms
        timeout_s = default / 1e3 if timeout_s is None and default is not None else timeout_s
        start, first = monotonic(), timeout_s
        if timeout_s is not None:
            batches = self._batcher.batch_seconds(rung.program), self._batcher.batch_seconds(reference)
            first = timeout_s - reserved_for_original(timeout_s, *batches)
        answers = await self.program(rung.program, rows, priority, first)
        deferred = rung.answers.deferred(answers)
        count = int(deferred.sum())
        if not count:
            self.guarded += len(rows)
            return answers
        left = None if timeout_s is None else timeout_s - (monotonic() - start)
        given = await self.program(reference, rows[deferred], priority, left)
        # A copy: the rows of a whole batch lie in one array.
        answers = answers.copy()
        answers[deferred, :-1] = given[:, :-1]
        self.guarded += len(rows)
        self.deferred += count
        return answers
