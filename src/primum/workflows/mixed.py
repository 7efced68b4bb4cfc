"""Where INT8 throughout harms: layers back to FP32, first as an integer program proposes, then by rank and revert."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import TypeAdapter

from primum.errors import TrialError
from primum.runtimes.base import Target
from primum.runtimes.isolated import Isolated
from primum.study.mixed import WORST_CASES, Harm, rank_and_revert, worst_cases
from primum.study.mixing import Mixing
from primum.study.objective import LATENCY, Objective
from primum.study.planner import LeftOut, Proposal
from primum.study.recipe import Recipe, recipe_of
from primum.study.runner import Runner
from primum.study.select import best_lossless, gains
from primum.study.trial import Status, Trial
from primum.task import Task

MOST_PROPOSALS = 3
REVERTS, TRIED = 2, 3
"""Of rank and revert, each evaluation of which is a trial: layers reverted at most, layers tried for each."""
_MIXING = TypeAdapter(Mixing)


@dataclass(frozen=True)
class Mixer:
    """Tries mixed precision for the INT8 trials that do not hold."""

    runner: Runner
    attempt: Callable[[Proposal], Trial]
    holds: Callable[[Trial], bool]
    leave_out: Callable[[LeftOut], None]
    objective: Objective = LATENCY

    def run(self, trials: Sequence[Trial]) -> list[Trial]:
        """Further trials, after `trials` (the original first); none where INT8 holds, or could not be the best."""
        done: list[Trial] = []
        for trial in self._harmful(trials):
            target = _target(trial)
            try:
                mixing = self._mixing(trial.key, target)
            except TrialError as error:
                self.leave_out(LeftOut(f"mixed precision of {trial.recipe}", str(error)))
                continue
            done += self._proposed(trial, mixing) or self._reverted(trial, mixing, [*trials, *done])
        return done

    def _harmful(self, trials: Sequence[Trial]) -> list[Trial]:
        """Static INT8 on a graph runtime that failed or changes decisions, and is better than what holds already.

        None where not even an unchanged model would be confirmed: there are too few patients, whatever a layer does.
        """
        if not self.holds(trials[0]):
            return []
        plain = [t for t in trials if not t.recipe_data.get("techniques") and _target(t).precision == "int8"]
        held = [t for t in trials if t.ok and not t.lossless and self.holds(t)]
        best = self.objective.best(held) or best_lossless(trials, self.objective)
        integer = any(_target(t).precision == "int8" for t in held)
        broken = [t for t in plain if t.status is Status.FAILED and t.parity is not None and not integer]
        return broken + [t for t in plain if _changes(t) and not self.holds(t) and gains(t, best, self.objective)]

    def _proposed(self, trial: Trial, mixing: Mixing) -> list[Trial]:
        """Trials of the proposals, fastest first, up to the first that holds; empty where none does."""
        done = []
        for proposal in mixing.proposals[:MOST_PROPOSALS]:
            done.append(self.attempt(Proposal(Recipe(proposal.target), f"mixed precision: {proposal.why}")))
            if self.holds(done[-1]):
                return done
        return []

    def _reverted(self, trial: Trial, mixing: Mixing, trials: Sequence[Trial]) -> list[Trial]:
        """Rank and revert on the worst cases of the selection part, from the last proposal on."""
        target, done = _target(trial), dict[frozenset[str], Trial]()
        worst = self._worst(trial) if trial.ok else None

        def evaluate(excluded: frozenset[str]) -> Harm:
            recipe = Recipe(target.model_copy(update={"exclude": tuple(sorted(excluded))}))
            made = self.attempt(Proposal(recipe, "mixed precision: the layers that harm the worst cases, in FP32"))
            done[excluded] = made
            return Harm(self._harm(made, worst), self.holds(made))

        start = mixing.proposals[min(MOST_PROPOSALS, len(mixing.proposals)) - 1] if mixing.proposals else None
        excluded = start.target.exclude if start is not None else mixing.ranked[:1]
        found = rank_and_revert(mixing.ranked, evaluate, excluded, TRIED, REVERTS)
        if not found.harm.acceptable:
            self.leave_out(LeftOut(f"more layers of {trial.recipe} in FP32", found.reason))
        return list(done.values())

    def _worst(self, trial: Trial) -> np.ndarray:
        return worst_cases(self._moved(trial), WORST_CASES)

    def _moved(self, trial: Trial) -> np.ndarray:
        """How far each selection case's scores moved, the largest over its columns."""
        before, after = (self.runner.scores(key, "selection") for key in (self.runner.baseline_key, trial.key))
        moved = np.abs(after - before).reshape(len(before), -1)
        return np.asarray(moved.max(axis=1))

    def _harm(self, trial: Trial, worst: np.ndarray | None) -> float:
        if not trial.ok:
            return float("inf")
        moved = self._moved(trial)
        return float(np.mean(moved if worst is None else moved[worst]))

    def _mixing(self, key: str, target: Target) -> Mixing:
        """Worked out once, then kept."""
        store, known = self.runner.store, self.runner.store.record(f"mixing-{key}")
        if known is not None:
            return _MIXING.validate_python(known)
        labels = None
        if self.runner.original.signature.task is not Task.SEGMENTATION:
            labels = self.runner.judging.data.cases.labels[self.runner.workshop.calibration]
        with Isolated(self.runner.timeout, self.runner.deadline) as process:
            found: Mixing = process.call(
                "primum.study.mixing:propose_mixing",
                original=self.runner.original,
                target=target,
                workshop=self.runner.workshop,
                labels=labels,
            )
        store.keep(f"mixing-{key}", _MIXING.dump_python(found, mode="json"))
        return found


def _changes(trial: Trial) -> bool:
    return trial.ok and trial.verdict is not None and trial.verdict.agreement.flips > 0


def _target(trial: Trial) -> Target:
    return recipe_of(trial).target
