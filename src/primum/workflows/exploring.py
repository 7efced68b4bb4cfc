"""After the bisecting search, where it is asked for: Optuna's suggestions, run as every other trial, by all workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from primum.config import OptimizationConfig, OptimizationLevel
from primum.study.explore import Ended, Explorer
from primum.study.merits import Bounds, merits_of, reference_of
from primum.study.planner import LeftOut, Proposal
from primum.study.recipe import Recipe
from primum.study.runner import Runner
from primum.study.search import SearchSpace
from primum.study.space import Space, space_of
from primum.study.trial import Trial
from primum.validation.verdict import Outcome
from primum.workflows.budget import SPENT
from primum.workflows.sharing import POLL_S, Phase, announce

MORE = "more of the exploration"


@dataclass(frozen=True)
class Exploring:
    """What an exploration takes from the trials around it."""

    runner: Runner
    config: OptimizationConfig
    attempt: Callable[[Proposal], Trial]
    obstacle: Callable[[Recipe], str | None]
    promise: Callable[[Trial], float]
    spent: Callable[[], bool]
    leave_out: Callable[[LeftOut], None]
    minutes: Callable[[], float]
    """Of one training."""

    def lead(self, trials: Sequence[Trial], trains: bool) -> list[Trial]:
        """The explored trials, those of joiners included. `trials` begins with the original's.

        `trains`: techniques may change the network, and there are data to train on.
        """
        if self.config.level is OptimizationLevel.MINIMAL:
            self.leave_out(LeftOut("exploration", "MINIMAL tries lossless runtimes only"))
            return []
        reduction = self.config.reduction
        minutes = self.minutes()
        most = SearchSpace(self.config, trains, minutes).most
        space = space_of(trials, self.config.threads, trains, most, minutes)
        if isinstance(space, LeftOut):
            self.leave_out(space)
            return []
        bounds = Bounds(reduction.explore, self.config.seed, reference_of(trials))
        explorer = self.explorer(space, bounds)
        explorer.inform(trials)
        announce(self.runner.store, Phase.EXPLORING, space, bounds)
        self.leave_out(LeftOut(MORE, self.work(explorer)))
        for what, why in explorer.refused():
            self.leave_out(LeftOut(what, why))
        found = [self.runner.known(key) for key in explorer.explored()]
        return [trial for trial in found if trial is not None]

    def explorer(self, space: Space, bounds: Bounds) -> Explorer:
        """This worker's view of the exploration."""
        baseline = self.runner.known(self.runner.baseline_key)
        assert baseline is not None
        return Explorer(
            self.runner.store.folder,
            space,
            bounds,
            self.runner.leases,
            self.runner.known,
            lambda trial: merits_of(trial, baseline, self.promise(trial)),
            lambda recipe: self._stage(space, recipe) or self.obstacle(recipe),
        )

    def work(self, explorer: Explorer, go_on: Callable[[], bool] = lambda: True) -> str:
        """Run suggestions until none is left, the budget is spent or `go_on` says no; returns why it ended."""
        while go_on():
            if self.spent():
                return SPENT
            found = explorer.next()
            if isinstance(found, Ended):
                return found.reason
            if found is None:
                time.sleep(POLL_S)
                continue
            explorer.tell(found, self.attempt(found.proposal))
        return "the leader of the study ended it"

    def _stage(self, space: Space, recipe: Recipe) -> str | None:
        """What is already harmful before it is quantized is not quantized."""
        before = [self.runner.known(stage.key) for stage in space.float_stages(recipe)]
        if any(t is not None and t.ok and t.outcome is Outcome.INFERIOR for t in before):
            return "the stage before it, in FP32, was found INFERIOR"
        return None
