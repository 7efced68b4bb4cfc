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
from primum.serving.executor.program import Asked, Executor, ExecutorStats, ProgramCall
from primum.serving.ladder.asking import Asking
from primum.serving.ladder.line import Line, open_rungs
from primum.serving.ladder.rung import Rung
from primum.serving.ladder.shadow import Shadow, ShadowOptions
from primum.serving.ladder.standing import state, told
from primum.serving.ladder.trust import TrustStore
from primum.serving.ladder.watch import Watch
from primum.serving.observability.tally import Tally
from primum.serving.wire.tensors import datatype_of

if TYPE_CHECKING:
    import torch

INPUT = "input"
_FLOAT = np.dtype("<f4")


class Answered(NamedTuple):
    """Named outputs, and the artifact that gave them."""

    outputs: dict[str, NDArray[Any]]
    rung: Rung


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
        shadow: ShadowOptions | None = None,
        trust: TrustStore | None = None,
    ) -> None:
        """`folders`: artifacts, the preferred first, each after it faster. Verifies and loads them; raises as
        `primum.load`, InputError where they are not all proven forms of one model, and as `Shadow.prepare`. They run in
        `executor`, or where `hosting` says (default: in this process). `trust` keeps over restarts which of them are
        barred.
        """
        self.name, self._folders, self._factory = name, tuple(folders), factory
        if executor is None:
            self._placement, rungs = place(hosting or Hosting(), config, self._open)
        else:
            self._placement, rungs = Placement(executor, "given"), self._open(executor)
        self._executor = self._placement.executor
        self.batcher = DynamicBatcher(ProgramCall(self._executor), config=config, name=name)
        self._asking = Asking(self.batcher)
        self.tally = Tally()
        self.shadow = Shadow(name, shadow or ShadowOptions(), self._asking, trust)
        try:
            self._line = self._lined(rungs)
        except BaseException:
            self._executor.stop()
            raise
        self._watch = self._watching(self._line)

    @property
    def rung(self) -> Rung:
        """The artifact that answers now."""
        return self._line.step.rung

    @property
    def unproven(self) -> bool:
        """Whether nothing shows that the artifact that answers now is no worse than its original."""
        return self.rung.unproven

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one case."""
        shape: tuple[int, ...] = self.rung.manifest.signature.input_shape
        return shape

    @property
    def line(self) -> Line:
        """All artifacts that may answer."""
        return self._line

    @property
    def watch(self) -> Watch:
        """What looks after them."""
        return self._watch

    @property
    def alive(self) -> bool:
        """Whether some executor can run it now: not while the only one is replaced, or none can be started."""
        return self._executor.can_run(self.rung.program)

    async def start(self) -> None:
        """Measure the model by synthetic cases, so that no patient's request teaches it how long it takes."""
        await self.batcher.start()
        for rung in self._line.rungs:
            await self._warm(rung)
        await self.shadow.start()
        self._watch.start()

    async def stop(self) -> None:
        """Answer what is here, refuse what comes, release the model."""
        await self._watch.stop()
        await self.shadow.stop()
        await self.batcher.stop()
        self._executor.stop()

    async def reload(self) -> bool:
        """Read the artifacts anew; False where they are those that answer. Requests go on: those that came before are
        answered by the artifacts that they came to. Raises as the constructor, and then nothing changed.
        """
        line = await asyncio.to_thread(lambda: self._lined(self._open(self._executor)))
        if [rung.digest for rung in line.rungs] == [rung.digest for rung in self._line.rungs]:
            line.retire()
            return False
        try:
            for rung in line.rungs:
                await self._warm(rung)
        except BaseException:
            line.retire()
            raise
        await self._watch.stop()
        self._line, old = line, self._line
        self._watch = self._watching(line)
        self._watch.start()
        old.retire()
        return True

    def allowed_s(self, timeout_s: float | None) -> float | None:
        """A request's time: its own, else the model's default; None: as long as it takes."""
        default: float | None = self.batcher.config.request_timeout_ms
        return default / 1e3 if timeout_s is None and default is not None else timeout_s

    async def infer(self, inputs: Mapping[str, NDArray[Any]], priority: int, timeout_s: float | None) -> Answered:
        """Named outputs for named inputs. Raises InputError for inputs that the model does not take, PrimumError
        where the model gives no finite answer, else as DynamicBatcher.
        """
        started = monotonic()
        try:
            answered = await self._infer(inputs, priority, timeout_s)
        except BaseException as error:
            self.tally.failed(error)
            raise
        self.tally.answered(monotonic() - started)
        return answered

    async def _infer(self, inputs: Mapping[str, NDArray[Any]], priority: int, timeout_s: float | None) -> Answered:
        line = self._line
        rows = self._rows(inputs, line.step.rung)
        self._watch.cases += len(rows)
        step = line.enter()
        rung = step.rung
        try:
            answers = await self._asking.rung(rung, rows, priority, timeout_s, step.distrusted)
        finally:
            line.leave(step)
        if np.isnan(answers[:, 0]).any():
            raise PrimumError("the model gave no finite answer")
        self.shadow.offer(line, step, rows, answers)
        return Answered(rung.answers.named(answers), rung)

    def stats(self) -> BatcherStats:
        """What happened so far."""
        return self.batcher.stats()

    @property
    def asking(self) -> Asking:
        """What asks its networks, and counts the cases of a guarded one that its original answered."""
        return self._asking

    def executor_stats(self) -> ExecutorStats:
        """Where the networks run, and how that goes."""
        return self._executor.stats()

    def standing(self) -> dict[str, Any]:
        """Which artifacts may answer, which one does and since when, and what is known of them."""
        return state(self._line, self.shadow, self._asking, monotonic())

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
                "unproven": rung.unproven,
                "sha256": rung.digest,
                "isolation": f"{self._executor.stats().isolation} ({self._placement.why})",
                **told(self._line, self.shadow),
            },
        }

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

    def _open(self, executor: Executor) -> list[Rung]:
        return open_rungs(self.name, self._folders, executor, self._factory)

    def _lined(self, rungs: Sequence[Rung]) -> Line:
        target = self.batcher.config.target_latency_ms
        # Without a target, the default one.
        target = BatchConfig().target_latency_ms if target is None else target
        line = Line(rungs, self._executor, self.batcher.forget, (target or 0.0) / 1e3)
        try:
            self.shadow.prepare(line)
        except BaseException:
            line.retire()
            raise
        return line

    def _watching(self, line: Line) -> Watch:
        return Watch(self.name, line, self.batcher, self._warm, self._factory)

    async def _warm(self, rung: Rung) -> None:
        shape = rung.manifest.signature.input_shape
        for program in rung.programs:
            await self.batcher.warm_up(Asked(program, np.zeros((1, *shape), np.float32)))
