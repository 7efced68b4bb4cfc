"""A served model: artifacts under a name, its tensors by the protocol, its requests through one batcher."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from primum.batching import DynamicBatcher
from primum.batching.stats import BatcherStats
from primum.config import BatchConfig
from primum.errors import InputError, PrimumError
from primum.serving.executor.placement import Hosting, Placement, place
from primum.serving.program import Asked, Executor, ExecutorStats, Program, ProgramCall
from primum.serving.rung import Rung, check_ladder, open_rung
from primum.serving.tensors import datatype_of

if TYPE_CHECKING:
    import torch

INPUT = "input"
_FLOAT = np.dtype("<f4")


class Answered(NamedTuple):
    """Named outputs, and the artifact that gave them."""

    outputs: dict[str, NDArray[Any]]
    rung: Rung


class Line:
    """The rungs that answer together, from the one preferred to the fastest, until others take their place."""

    def __init__(self, rungs: Sequence[Rung]) -> None:
        self.rungs, self.place = tuple(rungs), 0
        self.users = 0
        """Requests that are being answered by these rungs."""

    @property
    def rung(self) -> Rung:
        """The one that answers now."""
        return self.rungs[self.place]


class ServedModel:
    """Answers requests for one model; belongs to one event loop."""

    def __init__(
        self,
        name: str,
        folders: Sequence[Path],
        config: BatchConfig,
        executor: Executor | None = None,
        factory: Callable[[], torch.nn.Module] | None = None,
        hosting: Hosting | None = None,
    ) -> None:
        """`folders`: artifacts, the preferred first, each after it faster. Verifies and loads them; raises as
        `primum.load`, and InputError where they are not all proven forms of one model. They run in `executor`, or where
        `hosting` says (default: in this process).
        """
        self.name, self._folders, self._factory = name, tuple(folders), factory
        if executor is None:
            self._placement, self._line = place(hosting or Hosting(), config, self._open_in)
        else:
            self._placement, self._line = Placement(executor, "given"), self._open_in(executor)
        self._retired: list[Line] = []
        self.batcher = DynamicBatcher(ProgramCall(self._executor), config=config, name=name)

    @property
    def rung(self) -> Rung:
        """The artifact that answers now."""
        return self._line.rung

    async def start(self) -> None:
        """Measure the model by synthetic cases, so that no patient's request teaches it how long it takes."""
        await self.batcher.start()
        await self._warm(self._line)

    async def stop(self) -> None:
        """Answer what is here, refuse what comes, release the model."""
        await self.batcher.stop()
        self._executor.stop()

    async def reload(self) -> bool:
        """Read the artifacts anew; False where they are those that answer. Requests go on: those that came before are
        answered by the artifacts that they came to. Raises as the constructor, and then nothing changed.
        """
        line = await asyncio.to_thread(self._open)
        if [rung.digest for rung in line.rungs] == [rung.digest for rung in self._line.rungs]:
            self._close(line)
            return False
        await self._warm(line)
        self._line, old = line, self._line
        self._retired.append(old)
        self._release(old)
        return True

    async def infer(self, inputs: Mapping[str, NDArray[Any]], priority: int, timeout_s: float | None) -> Answered:
        """Named outputs for named inputs. Raises InputError for inputs that the model does not take, PrimumError
        where the model gives no finite answer, else as DynamicBatcher.
        """
        line = self._line
        rung = line.rung
        rows = self._rows(inputs, rung)
        line.users += 1
        try:
            if rung.reference is None:
                answers = await self._ask(rung.program, rows, priority, timeout_s)
            else:
                answers = await self._guarded(rung, rung.reference, rows, priority, timeout_s)
        finally:
            line.users -= 1
            if line is not self._line:
                self._release(line)
        if np.isnan(answers[:, 0]).any():
            raise PrimumError("the model gave no finite answer")
        return Answered(rung.answers.named(answers), rung)

    def stats(self) -> BatcherStats:
        """What happened so far."""
        return self.batcher.stats()

    def executor_stats(self) -> ExecutorStats:
        """Where the networks run, and how that goes."""
        return self._executor.stats()

    def metadata(self) -> dict[str, Any]:
        """Name, versions, platform and tensors, as the protocol lists them; the rest under properties."""
        rung = self.rung
        manifest = rung.manifest
        outputs = rung.answers.named(np.zeros((1, rung.answers.width)))
        return {
            "name": self.name,
            "versions": [rung.version],
            "platform": f"primum_{manifest.target['runtime']}",
            "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, *manifest.signature.input_shape]}],
            "outputs": [
                {"name": name, "datatype": datatype_of(array), "shape": [-1, *array.shape[1:]]}
                for name, array in outputs.items()
            ],
            "properties": {
                "task": manifest.signature.task.value,
                "classes": ", ".join(manifest.signature.classes),
                "recipe": manifest.recipe,
                "verdict": manifest.verdict,
                "sha256": rung.digest,
                "isolation": f"{self._executor.stats().isolation} ({self._placement.why})",
            },
        }

    async def _ask(
        self, program: Program, rows: NDArray[np.float32], priority: int, timeout_s: float | None
    ) -> NDArray[np.float64]:
        asked = Asked(program, rows)
        if len(rows) == 1:
            answer: NDArray[np.float64] = await self.batcher.predict(asked, priority=priority, timeout_s=timeout_s)
            return answer
        answers: NDArray[np.float64] = await self.batcher.predict_many(asked, priority=priority, timeout_s=timeout_s)
        return answers

    async def _guarded(
        self, rung: Rung, reference: Program, rows: NDArray[np.float32], priority: int, timeout_s: float | None
    ) -> NDArray[np.float64]:
        """The fast network's answers, with the original's in place of those that are too narrow; one deadline."""
        default = self.batcher.config.request_timeout_ms
        timeout_s = default / 1e3 if timeout_s is None and default is not None else timeout_s
        start = monotonic()
        answers = await self._ask(rung.program, rows, priority, timeout_s)
        deferred = rung.answers.deferred(answers)
        if not deferred.any():
            return answers
        left = None if timeout_s is None else timeout_s - (monotonic() - start)
        given = await self._ask(reference, rows[deferred], priority, left)
        # A copy: the rows of a whole batch lie in one array.
        answers = answers.copy()
        answers[deferred, :-1] = given[:, :-1]
        return answers

    def _rows(self, inputs: Mapping[str, NDArray[Any]], rung: Rung) -> NDArray[np.float32]:
        rows = inputs.get(INPUT)
        if rows is None or len(inputs) != 1:
            given = ", ".join(map(repr, inputs)) or "none"
            raise InputError(f"model {self.name!r} takes one input, {INPUT!r}; given: {given}")
        if rows.dtype != _FLOAT:
            raise InputError(f"input {INPUT!r} is FP32, not {datatype_of(rows)}")
        shape = rung.manifest.signature.input_shape
        if rows.shape[1:] != shape:
            raise InputError(f"input {INPUT!r} has shape [-1, {', '.join(map(str, shape))}], not {list(rows.shape)}")
        return rows

    def _open_in(self, executor: Executor) -> Line:
        self._executor = executor
        return self._open()

    def _open(self) -> Line:
        rungs: list[Rung] = []
        try:
            for folder in self._folders:
                rungs.append(open_rung(folder, self._executor, self._factory))
            check_ladder(self.name, [rung.manifest for rung in rungs])
        except BaseException:
            self._close(Line(rungs))
            raise
        return Line(rungs)

    async def _warm(self, line: Line) -> None:
        for rung in line.rungs:
            shape = rung.manifest.signature.input_shape
            for program in rung.programs:
                await self.batcher.warm_up(Asked(program, np.zeros((1, *shape), np.float32)))

    def _release(self, line: Line) -> None:
        """Close a line that others replaced, once nobody is being answered by it."""
        if line in self._retired and not line.users:
            self._retired.remove(line)
            self._close(line)

    def _close(self, line: Line) -> None:
        for rung in line.rungs:
            for program in rung.programs:
                self._executor.close(program)
