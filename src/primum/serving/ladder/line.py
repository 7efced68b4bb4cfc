"""The rungs that answer for a model together: which are loaded, who is answered by each, and which one answers now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from primum.errors import PrimumError, RequestRejected
from primum.serving.executor.program import Executor, Program
from primum.serving.ladder.ladder import Ladder, LadderSettings
from primum.serving.ladder.rung import Rung, check_ladder, open_rung

if TYPE_CHECKING:
    import torch

    from primum.serving.ladder.flip_test import FlipTest


class Step:
    """A rung in its place."""

    def __init__(self, rung: Rung) -> None:
        self.rung = rung
        """Loaded anew under another object each time, always the same artifact."""
        self.users = 0
        """Requests that are being answered by it."""
        self.is_open = True
        """Takes requests."""
        self.is_loaded = True
        """Its networks are in memory."""
        self.bytes = _bytes(rung.folder)
        """Of the files of its networks."""
        self.failure = ""
        """Why it could not be loaded again; empty where it was not tried, or is."""
        self.capacity = float("inf")
        """Cases a second, as last learned; infinite before."""
        self.test: FlipTest | None = None
        """Of its decisions against the network more trusted; None where there is none."""
        self.distrusted = False
        """Guarded, and decides otherwise too often although it defers: its original answers all cases."""


class Line:
    """Rungs from the one most trusted to the fastest, until others take their place."""

    def __init__(
        self, rungs: Sequence[Rung], executor: Executor, forget: Callable[[Program], None], target_s: float
    ) -> None:
        """`forget` is told each program that was closed; `target_s`: a backlog longer than this is pressure."""
        self.steps = tuple(Step(rung) for rung in rungs)
        self.ladder = Ladder(len(self.steps), LadderSettings(target_s=target_s))
        self._executor, self._forget = executor, forget
        self.retired = False

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """All of them, loaded or not."""
        return tuple(step.rung for step in self.steps)

    @property
    def step(self) -> Step:
        """The one that answers now."""
        return self.steps[self.ladder.place]

    @property
    def is_open(self) -> tuple[bool, ...]:
        """Which take requests."""
        return tuple(step.is_open for step in self.steps)

    @property
    def users(self) -> int:
        """Requests that are being answered."""
        return sum(step.users for step in self.steps)

    def enter(self) -> Step:
        """A request comes to the rung that answers now; it must `leave`. RequestRejected while that is loaded."""
        step = self.step
        if not step.is_open:
            raise RequestRejected("loading", 1.0, "the artifact that answers is being loaded again")
        step.users += 1
        return step

    def leave(self, step: Step) -> None:
        """A request was answered, or ended otherwise."""
        step.users -= 1
        self._close_idle(step)

    def release(self, place: int) -> None:
        """Take no more requests for a rung, and unload it once nobody is being answered by it."""
        self.steps[place].is_open = False
        self._close_idle(self.steps[place])

    def retire(self) -> None:
        """As `release`, for all: others took their place."""
        self.retired = True
        for place in range(len(self.steps)):
            self.release(place)

    def load(self, place: int, factory: Callable[[], torch.nn.Module] | None) -> Rung:
        """Load the networks of a rung again. Blocks; raises as `primum.load`, and PrimumError where its folder holds
        another artifact by now.
        """
        old = self.steps[place].rung
        rung = open_rung(old.folder, self._executor, factory)
        if rung.digest != old.digest:
            close_rung(rung, self._executor)
            raise PrimumError(f"{old.folder.name} holds another artifact by now: reload the model")
        return rung

    def close(self, rung: Rung) -> None:
        """Unload what `load` gave, or what answered."""
        close_rung(rung, self._executor)
        for program in rung.programs:
            self._forget(program)

    def opened(self, place: int, rung: Rung) -> None:
        """What `load` gave takes requests from now on."""
        step = self.steps[place]
        step.rung, step.is_open, step.is_loaded, step.failure = rung, True, True, ""
        if self.retired:
            self.release(place)

    def _close_idle(self, step: Step) -> None:
        if step.is_loaded and not step.is_open and not step.users:
            step.is_loaded = False
            self.close(step.rung)


def open_rungs(
    name: str, folders: Sequence[Path], executor: Executor, factory: Callable[[], torch.nn.Module] | None
) -> list[Rung]:
    """Verify and load artifacts that answer for one model. Raises as `open_rung` and `check_ladder`, nothing stays open
    then.
    """
    rungs: list[Rung] = []
    try:
        for folder in folders:
            rungs.append(open_rung(folder, executor, factory))
        check_ladder(name, [rung.manifest for rung in rungs])
    except BaseException:
        for rung in rungs:
            close_rung(rung, executor)
        raise
    return rungs


def close_rung(rung: Rung, executor: Executor) -> None:
    """Unload a rung's networks."""
    for program in rung.programs:
        executor.close(program)


def _bytes(folder: Path) -> int:
    found = [path for part in ("model", "reference") for path in (folder / part).rglob("*")]
    return sum(path.stat().st_size for path in found if path.is_file())
