"""Step 5b of the main job: of each claim the one candidate that is guarded, fixed before the guard part is opened."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from primum.config import GuardPolicy, OptimizationConfig
from primum.data.ledger import GUARD, Ledger
from primum.progress import Progress
from primum.study.guard import GUARDED, guard_trial, guardable
from primum.study.guard_choice import foreseen, most_promising
from primum.study.objective import objective_of
from primum.study.planner import LeftOut
from primum.study.runner import Runner
from primum.study.search import repeats
from primum.study.select import best_lossless, of_runtime
from primum.study.trial import Trial
from primum.workflows.looks import record_search, say_prior

RECORD = "guarding"
"""Name of the record of what was fixed: claim -> key of the unguarded candidate."""


@dataclass(frozen=True)
class GuardLooks:
    """What was done with the guard patients."""

    bands: int = 0
    """Candidates of this study that had a band set on them."""
    prior: tuple[str, ...] = ()
    """Earlier looks at them that were not this study's own, as sentences."""


@dataclass
class Guarding:
    """Guards one candidate a claim. Once the guard part was opened, what was fixed for the claim stands."""

    runner: Runner
    config: OptimizationConfig
    policy: GuardPolicy
    progress: Progress
    promise: Callable[[Trial], float]
    """Chance that a trial would be confirmed."""
    leave_out: Callable[[LeftOut], None]
    _opened: dict[str, str] = field(default_factory=dict)
    """Key of a candidate -> its frozen digest."""
    _ledger: Ledger = field(default_factory=Ledger)

    def run(self, trials: Sequence[Trial]) -> list[Trial]:
        """The guarded forms, each in the runtime of its claim."""
        fixed = [one for name in self.config.claims if (one := self._fix(name, trials)) is not None]
        self.progress.stage("Guarded candidates", len(fixed))
        done = []
        for number, (name, trial, lossless) in enumerate(fixed):
            done.append(guard_trial(self.runner, trial, lossless, self.policy, partial(self._open, name, trial)))
            self.progress.advance(number + 1)
        return done

    def looks(self, trials: Sequence[Trial]) -> GuardLooks:
        """What this study did with the guard patients, and what was done before."""
        kept = ((t.key, self.runner.known(t.key + GUARDED)) for t in trials if not t.key.endswith(GUARDED))
        # A study that an older release began may hold bands of many candidates.
        bands = {key for key, made in kept if made is not None and made.guard is not None}
        own = set(self._opened.values())
        cases, judging = self._cases(), self.runner.judging
        search = record_search(judging.data, judging.split, self.runner.original.digest).hash
        before = [
            say_prior(look, share, "guard cases")
            for look, share in (self._ledger.prior(cases, "") if own else ())
            if look.candidate not in own and look.hash != search
        ]
        return GuardLooks(len(bands | self._opened.keys()), tuple(before))

    def _fix(self, name: str, trials: Sequence[Trial]) -> tuple[str, Trial, Trial] | None:
        """The candidate of one claim, with the lossless form that answers in its place."""
        own, objective = of_runtime(trials, name), objective_of(self.config.objective)
        # Who serves one runtime has the original answer in that runtime too.
        lossless = best_lossless(own, objective)
        if lossless is None:
            self.leave_out(LeftOut(f"guarded candidates in {name}", "the original does not run there to answer"))
            return None
        able = [t for t in guardable(own, lossless, objective) if not repeats(t)]
        stands = (self.runner.store.record(RECORD) or {}).get(name, {}).get("key")
        by_key = {t.key: t for t in own}
        chosen = by_key.get(stands) if stands else None
        if chosen is None:
            foresee = partial(foreseen, self.runner, lossless=lossless, policy=self.policy)
            chosen = most_promising(able, lossless, objective, foresee, self.promise)
        if chosen is None:
            return None
        if others := sum(t.key != chosen.key for t in able):
            plural = "s" if others > 1 else ""
            why = "a band holds for one candidate, fixed before the guard part is opened"
            self.leave_out(LeftOut(f"guarded forms of {others} other candidate{plural}", f"{why}: {chosen.recipe}"))
        return name, chosen, lossless

    def _open(self, name: str, trial: Trial) -> None:
        """Record, before the candidate is run on the guard cases, that it is."""
        store, frozen = self.runner.store, _frozen(self.runner, trial, self.policy)
        known = store.record(RECORD) or {}
        if name not in known:
            when = datetime.now(UTC).isoformat(timespec="seconds")
            store.keep(RECORD, {**known, name: {"key": trial.key, "when": when}})
        self._ledger.record(self._cases(), frozen, GUARD)
        self._opened[trial.key] = frozen

    def _cases(self) -> list[str]:
        judging = self.runner.judging
        return [judging.data.digests[row] for row in judging.split.guard]


def _frozen(runner: Runner, trial: Trial, policy: GuardPolicy) -> str:
    """Digest of all that a band is made of but the guard cases: candidate, original, thresholds and guard policy."""
    parts = [
        runner.original.digest,
        json.dumps(trial.recipe_data, sort_keys=True),
        runner.original.preprocessing.model_dump_json(),
        repr(runner.rule),
        policy.model_dump_json(),
        *_patients(runner),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _patients(runner: Runner) -> list[str]:
    """Who owns which guard cases, whatever patients are called."""
    held: dict[str, list[str]] = {}
    for row, unit in zip(runner.judging.split.guard, runner.cases("guard").units):
        held.setdefault(str(unit), []).append(runner.judging.data.digests[row])
    return sorted(" ".join(sorted(own)) for own in held.values())
