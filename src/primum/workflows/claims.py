"""From what was chosen for each claim to the claim itself: judged where, how fast by stage, why decisions changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from primum.benchmark.timing import Timings
from primum.config import OptimizationConfig
from primum.reporting.modification_record import declared_first
from primum.runtimes.base import get_runtime
from primum.study.claim import Claim, GuardResult, Judged, NotDelivered
from primum.study.guard import guard_result
from primum.study.objective import Objective
from primum.study.planner import LeftOut
from primum.study.runner import Runner
from primum.study.select import Declared, of_runtime
from primum.study.trial import Trial
from primum.validation.verdict import Outcome
from primum.workflows.assess import assess_delivered
from primum.workflows.confirmation import Choice, Opened
from primum.workflows.explain import explain
from primum.workflows.guarding import GuardLooks
from primum.workflows.prepare import Prepared
from primum.workflows.timing import stage_timings


@dataclass(frozen=True)
class Settled:
    """A claim for which it is settled what is delivered."""

    runtime: str
    declared: Declared
    opened: Opened
    choice: Choice

    @property
    def finalists(self) -> tuple[str, ...]:
        """Keys of what is timed once more: the winner with the parts of its guard, and all that was declared."""
        guard = self.choice.winner.guard
        return (self.choice.winner.key, *((guard.of, guard.reference) if guard else ()), *self.declared.keys)


@dataclass(frozen=True)
class Claims:
    """Makes the claims of one study."""

    runner: Runner
    prepared: Prepared
    config: OptimizationConfig
    trials: Sequence[Trial]
    final: Mapping[str, Timings]
    declared_at: str
    plain_case_ids: bool
    stage_images: int
    looks: GuardLooks

    def make(self, settled: Settled) -> Claim:
        """The claim of what was settled. Runs the delivered candidate by stage, and explains what it changed."""
        runner, choice = self.runner, settled.choice
        winner, verdict, confirmations = choice.winner, choice.verdict, settled.opened.confirmations
        part = "confirmation" if any(c.key == winner.key for c in confirmations) else "selection"
        lossy = not winner.lossless and winner.key != runner.baseline_key
        proven = verdict.outcome is Outcome.NON_INFERIOR
        first = bool(confirmations) and all(declared_first(self.declared_at, c.opened) for c in confirmations)
        own = of_runtime(self.trials, settled.runtime)
        decided = next(t.key for t in own if t.recipe == choice.recipe)
        return Claim(
            runtime=settled.runtime,
            declared=settled.declared.keys,
            declared_reason=settled.declared.reason,
            declared_at=self.declared_at,
            confirmations=confirmations,
            prior_openings=settled.opened.prior,
            uncomparable_openings=settled.opened.uncomparable,
            winner=winner,
            accepted=proven and (lossy or choice.recipe == winner.recipe),
            unproven=lossy and not proven,
            verdict=verdict,
            verdict_recipe=choice.recipe,
            reasons=choice.reasons,
            stages=stage_timings(runner, winner.key, self.stage_images),
            judged=self._judged(winner, part),
            guard=self._guard(winner, part),
            assessment=assess_delivered(
                runner, winner, part, self.config, self.prepared.frozen, first, self.plain_case_ids
            ),
            why=explain(runner, own, confirmations, decided),
        )

    def _guard(self, winner: Trial, part: str) -> GuardResult | None:
        if winner.guard is None:
            return None
        found = guard_result(self.runner, winner, self.final, part)
        return replace(found, bands=self.looks.bands, claims=len(self.config.claims), prior=self.looks.prior)

    def _judged(self, winner: Trial, part: str) -> Judged:
        runner, judging = self.runner, self.runner.judging
        cases = judging.cases(judging.split.parts()[part], runner.original.signature)
        return Judged(part, cases.labels, runner.scores(runner.baseline_key, part), runner.scores(winner.key, part))


def best_claim(claims: Sequence[Claim], objective: Objective) -> Claim:
    """The claim whose artifact is the best of all; one that is unproven only where all are."""
    ranked = [c for c in claims if not c.unproven] or list(claims)
    best = objective.best([c.winner for c in ranked])
    return next(c for c in ranked if c.winner is best)


def not_delivered(runtime: str, trials: Sequence[Trial], left_out: Sequence[LeftOut]) -> NotDelivered:
    """Why there is no artifact for `runtime`, from what was tried there and what was left out."""
    if why := get_runtime(runtime).missing():
        return NotDelivered(runtime, f"not installed: {why}")
    own = of_runtime(trials, runtime)
    if any(t.ok for t in own):
        said = [f"{t.recipe}: {t.outcome.value} on selection" if t.ok else f"{t.recipe}: {t.reason}" for t in own]
        return NotDelivered(runtime, f"the original does not run there unchanged, and nothing was proven: {_few(said)}")
    said = [f"{t.recipe}: {t.reason}" for t in own]
    said += [f"{item.what}: {item.why}" for item in left_out if f"{runtime}[" in item.what]
    return NotDelivered(runtime, f"nothing ran there: {_few(said)}" if said else "nothing was proposed there")


def _few(said: Sequence[str], most: int = 3) -> str:
    more = [f"and {len(said) - most} more"] if len(said) > most else []
    return "; ".join([*said[:most], *more])
