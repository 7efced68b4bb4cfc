"""Where INT8 throughout harms: layers back to FP32, first as an integer program proposes, then by rank and revert."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
        """All further trials, whatever became of them, after `trials` (the original first).

        None where INT8 holds, or could not be the best.
        """
        attempts = _Attempts(self.attempt, {_layers(_target(t)): t for t in trials if _unchanged(t)})
        for trial in self._harmful(trials):
            target = _target(trial)
            try:
                mixing = self._mixing(trial.key, target)
            except TrialError as error:
                self.leave_out(LeftOut(f"mixed precision of {trial.recipe}", str(error)))
                continue
            if not self._proposed(mixing, attempts):
                self._reverted(trial, mixing, attempts)
        return attempts.made

    def _harmful(self, trials: Sequence[Trial]) -> list[Trial]:
        """Static INT8 on a graph runtime that failed or changes decisions, and is better than what holds already.

        None where not even an unchanged model would be confirmed: there are too few patients, whatever a layer does.
        """
        if not self.holds(trials[0]):
            return []
        plain = [t for t in trials if _unchanged(t) and _target(t).precision == "int8"]
        held = [t for t in trials if t.ok and not t.lossless and self.holds(t)]
        best = self.objective.best(held) or best_lossless(trials, self.objective)
        integer = any(_target(t).precision == "int8" for t in held)
        broken = [t for t in plain if t.status is Status.FAILED and t.parity is not None and not integer]
        return broken + [t for t in plain if _changes(t) and not self.holds(t) and gains(t, best, self.objective)]

    def _proposed(self, mixing: Mixing, attempts: _Attempts) -> bool:
        """Try the proposals, fastest first, up to the first that holds; whether one does."""
        return any(
            self.holds(attempts(proposal.target, f"mixed precision: {proposal.why}"))
            for proposal in mixing.proposals[:MOST_PROPOSALS]
        )

    def _reverted(self, trial: Trial, mixing: Mixing, attempts: _Attempts) -> None:
        """Rank and revert on the worst cases of the selection part, from the last proposal on."""
        target = _target(trial)
        worst = self._worst(trial) if trial.ok else None

        def evaluate(excluded: frozenset[str]) -> Harm:
            without = target.model_copy(update={"exclude": tuple(excluded)})
            made = attempts(without, "mixed precision: the layers that harm the worst cases, in FP32")
            return Harm(self._harm(made, worst), self.holds(made))

        start = mixing.proposals[min(MOST_PROPOSALS, len(mixing.proposals)) - 1] if mixing.proposals else None
        excluded = start.target.exclude if start is not None else mixing.ranked[:1]
        found = rank_and_revert(mixing.ranked, evaluate, excluded, TRIED, REVERTS)
        if not found.harm.acceptable:
            self.leave_out(LeftOut(f"more layers of {trial.recipe} in FP32", found.reason))

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


@dataclass
class _Attempts:
    """Trials by what they run, each tried once: rank and revert comes back to the last proposal."""

    attempt: Callable[[Proposal], Trial]
    known: dict[Target, Trial]
    made: list[Trial] = field(default_factory=list)
    """Those that were not known before, in their order."""

    def __call__(self, target: Target, why: str) -> Trial:
        target = _layers(target)
        if target not in self.known:
            self.known[target] = self.attempt(Proposal(Recipe(target), why))
            self.made.append(self.known[target])
        return self.known[target]


def _layers(target: Target) -> Target:
    """The same with the excluded layers in order of their names: their order makes no other graph."""
    return target.model_copy(update={"exclude": tuple(sorted(target.exclude))})


def _unchanged(trial: Trial) -> bool:
    """Whether no technique changed the network that it runs."""
    return not trial.recipe_data.get("techniques")


def _changes(trial: Trial) -> bool:
    return trial.ok and trial.verdict is not None and trial.verdict.agreement.flips > 0


def _target(trial: Trial) -> Target:
    return recipe_of(trial).target
