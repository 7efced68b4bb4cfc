"""Where a model's networks run: chosen by what one call was measured to take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from primum.config import BatchConfig
from primum.errors import InputError
from primum.serving.executor.in_process import InProcess
from primum.serving.executor.isolation import Isolation
from primum.serving.executor.processes import OPENER, Processes
from primum.serving.executor.program import Executor

Opened = TypeVar("Opened")


@dataclass(frozen=True)
class Hosting:
    """How a model's networks shall run. Raises InputError where the settings contradict each other."""

    isolation: Isolation = Isolation.NEVER
    memory_limit_mb: float | None = None
    """Of each process; see Processes."""
    opener: str = OPENER

    def __post_init__(self) -> None:
        """Check."""
        if self.isolation is Isolation.NEVER and self.memory_limit_mb is not None:
            raise InputError("a limit on the memory of executors takes processes: leave it out, or isolation 'never'")


@dataclass(frozen=True)
class Placement:
    """Where a model's networks run."""

    executor: Executor
    why: str


def place(hosting: Hosting, config: BatchConfig, open_in: Callable[[Executor], Opened]) -> tuple[Placement, Opened]:
    """Choose an executor, and what `open_in` opens in it. Raises as `open_in`; nothing stays open then.

    Automatic: networks are opened in processes and timed there. Where each answers a lone case within
    `inline_below_us`, they run in the event loop instead: the way to a process would take longer than the call.
    """
    if hosting.isolation is Isolation.NEVER:
        return _inside("as asked for", open_in)
    processes = Processes(config.executors, hosting.memory_limit_mb, hosting.opener)
    try:
        opened = open_in(processes)
        longest_us, limit_us = processes.alone_s * 1e6, config.inline_below_us
    except BaseException:
        processes.stop()
        raise
    if hosting.isolation is Isolation.ALWAYS:
        return Placement(processes, "as asked for"), opened
    if hosting.memory_limit_mb is not None:
        return Placement(processes, "a limit on memory is asked for"), opened
    if longest_us >= limit_us:
        return Placement(processes, f"a case takes {longest_us:.0f} us, {limit_us:g} us or more"), opened
    processes.stop()
    return _inside(f"a case takes {longest_us:.0f} us, less than {limit_us:g} us", open_in)


def _inside(why: str, open_in: Callable[[Executor], Opened]) -> tuple[Placement, Opened]:
    executor = InProcess()
    return Placement(executor, why), open_in(executor)
