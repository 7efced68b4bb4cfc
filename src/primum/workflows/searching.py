"""What the search of a study may try: read from the study's inputs, and from the original itself."""

from __future__ import annotations

from collections.abc import Callable

from primum.config import OptimizationConfig, OptimizationLevel
from primum.errors import BudgetSpent, TrialError
from primum.study.planner import LeftOut
from primum.study.runner import Runner
from primum.study.search import SearchSpace
from primum.task import Task
from primum.workflows.prepare import Prepared

_RECORD = "students"


def search_space(
    runner: Runner,
    prepared: Prepared,
    config: OptimizationConfig,
    minutes: float,
    leave_out: Callable[[LeftOut], None],
) -> SearchSpace:
    """The space of trainings of `minutes` each. Students are looked for once, in a process of their own."""
    trained, signature = prepared.training is not None, prepared.original.signature
    several = signature.task in (Task.MULTICLASS, Task.ORDINAL) and signature.outputs > 2
    changing = trained and config.level is OptimizationLevel.AGGRESSIVE and not prepared.original.reference.fixed
    return SearchSpace(
        config,
        trained,
        minutes,
        method="dkd" if several else "hints",
        students=_students(runner, leave_out) if changing else (),
        to_latency=True,
    )


def _students(runner: Runner, leave_out: Callable[[LeftOut], None]) -> tuple[tuple[float, float], ...]:
    known = runner.store.record(_RECORD)
    if known is None:
        try:
            found = runner.call("primum.study.beyond:shallower")
        except TrialError as error:
            leave_out(LeftOut("students of fewer blocks", str(error)))
            if isinstance(error, BudgetSpent):
                return ()
            found = []
        known = {"shapes": [list(shape) for shape in found]}
        runner.store.keep(_RECORD, known)
    return tuple((float(width), float(depth)) for width, depth in known["shapes"])
