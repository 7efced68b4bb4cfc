"""Exploration after the bisecting search: Optuna's multi-objective TPE over the recipes of a space.

Every worker of a study holds an `Explorer` on the same journal. Suggesting is one worker's turn at a time; running is
not. What is suggested hangs on the seed, the number of the suggestion and the trials that ended before it, so that one
worker on the same measurements makes the same suggestions, also after a kill.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from primum.errors import MissingExtra
from primum.hardware.machine import installed
from primum.locking import Lock
from primum.study.hypervolume import hypervolume
from primum.study.leases import Leases
from primum.study.merits import Bounds, Merits
from primum.study.planner import Proposal
from primum.study.recipe import Recipe, recipe_of
from primum.study.space import Choice, Space
from primum.study.trial import Trial

if TYPE_CHECKING:
    import optuna

PATIENCE = 8
"""Suggestions in a row that may add nothing before the exploration ends."""
GROWTH = 0.01
"""What counts as nothing: less than this share of the hypervolume, for latencies are measured with noise."""
DRAWS = 50
"""Draws in a row without a recipe that can be tried and was not, after which none is left."""
STARTUP = 10
"""Trials before which suggestions are drawn at random (Optuna's default for TPE)."""
_RAN, _KEY, _RECIPE, _WHY, _REASON, _DROPPED = "ran", "key", "recipe", "why", "reason", "dropped"
_SPENT = "nothing new"


@dataclass(frozen=True)
class Suggestion:
    """A recipe to be run, leased for this worker."""

    number: int
    """Of Optuna's trial."""
    proposal: Proposal


@dataclass(frozen=True)
class Ended:
    """Why nothing more is suggested."""

    reason: str


def require_optuna() -> None:
    """MissingExtra where the library is not installed."""
    if installed("optuna") is None:
        raise MissingExtra("exploring recipes", "search")


class Explorer:
    """One worker's view of an exploration."""

    def __init__(
        self,
        folder: Path,
        space: Space,
        bounds: Bounds,
        leases: Leases,
        known: Callable[[str], Trial | None],
        merits: Callable[[Trial], Merits],
        obstacle: Callable[[Recipe], str | None],
    ) -> None:
        """Open (or make) the exploration of `space` in `folder`. MissingExtra, StorageError."""
        require_optuna()
        import optuna

        from primum.study.journal import open_journal

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self.bounds, self.leases = space, bounds, leases
        self._known, self._merits, self._obstacle = known, merits, obstacle
        self._turn = Lock(folder / "exploration-turn.lock")
        # Another space is another study in the same journal: values of a setting cannot change within one.
        name = hashlib.sha256(json.dumps(asdict(space), sort_keys=True).encode()).hexdigest()[:12]
        with self._turn:
            self._study = optuna.create_study(
                storage=open_journal(folder / "exploration.journal"),
                study_name=name,
                directions=["minimize"] * 3,
                load_if_exists=True,
            )

    def inform(self, trials: Sequence[Trial]) -> int:
        """Give what was planned and bisected to Optuna as completed trials; returns how many are of this space."""
        with self._turn:
            told = {t.user_attrs.get(_KEY) for t in self._trials()}
            new = [(t, v) for t in trials if t.key not in told and (v := self._values(t)) is not None]
            for trial, values in new:
                self._add(trial, values)
            return len(new)

    def next(self) -> Suggestion | Ended | None:
        """What to run now, leased; None while only other workers are at work; or why nothing is left."""
        with self._turn:
            orphan = self._orphan()
            if orphan is not None:
                return orphan
            found = self._ended() or self._draw()
            if isinstance(found, Ended) and self._running():
                return None
            return found

    def tell(self, suggestion: Suggestion, trial: Trial) -> None:
        """Record what became of a suggestion, and give its lease back. One that was skipped is open again."""
        with self._turn:
            self._settle(suggestion.number, trial)
        self.leases.release(trial.key)

    def explored(self) -> list[str]:
        """Keys of the recipes that were run, in the order in which they were suggested."""
        return [str(t.user_attrs[_KEY]) for t in self._trials() if _RAN in t.user_attrs and t.state.name != "FAIL"]

    def refused(self) -> list[tuple[str, str]]:
        """(recipe, reason) of the suggestions that cannot work."""
        made = [t.user_attrs for t in self._trials() if _REASON in t.user_attrs and _RAN not in t.user_attrs]
        return [(str(Recipe.from_dict(a[_RECIPE])), str(a[_REASON])) for a in made if _RECIPE in a]

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        return list(self._study.get_trials(deepcopy=False))

    def _running(self) -> list[optuna.trial.FrozenTrial]:
        return [t for t in self._trials() if t.state.name == "RUNNING"]

    def _values(self, trial: Trial) -> dict[str, Any] | None:
        if trial.open or trial.guard is not None:
            return None
        return self.space.values_of(recipe_of(trial))

    def _add(self, trial: Trial, values: dict[str, Any]) -> None:
        import optuna

        from primum.study.journal import distribution

        merits = self._merits(trial) if trial.ok else None
        state = optuna.trial.TrialState.COMPLETE if merits else optuna.trial.TrialState.PRUNED
        self._study.add_trial(
            optuna.trial.create_trial(
                state=state,
                values=merits.objectives if merits else None,
                params=values,
                distributions={name: distribution(self.space.settings[name]) for name in values},
                constraints={"harm": merits.excess} if merits else None,
                user_attrs={_KEY: trial.key},
            )
        )

    def _orphan(self) -> Suggestion | None:
        """A suggestion whose worker is gone, taken over; one that it had finished is settled from its record."""
        for found in self._running():
            key = str(found.user_attrs.get(_KEY, ""))
            if not key:
                self._drop(found.number, "its worker was killed before it was leased")
            elif self.leases.take(key):
                trial = self._known(key)
                if trial is None:
                    why, recipe = str(found.user_attrs[_WHY]), Recipe.from_dict(found.user_attrs[_RECIPE])
                    return Suggestion(found.number, Proposal(recipe, why))
                self._settle(found.number, trial)
                self.leases.release(key)
        return None

    def _ended(self) -> Ended | None:
        ran = [t for t in self._trials() if _RAN in t.user_attrs and t.state.name != "FAIL"]
        if len(ran) >= self.bounds.limit:
            return Ended(f"the {self.bounds.limit} recipes that were asked for were run")
        if self._stalled():
            return Ended(f"the last {PATIENCE} recipes enlarged what the Pareto front covers by less than {GROWTH:.0%}")
        every = self.space.recipes()
        tried = {t.user_attrs.get(_KEY) for t in self._trials() if t.state.name != "FAIL"}
        if every is not None and all(r.key in tried or self._known(r.key) is not None for r in every):
            return Ended(f"every one of the {len(every)} recipes of its space was tried")
        spent = self._study.user_attrs.get(_SPENT)
        return Ended(str(spent)) if spent else None

    def _stalled(self) -> bool:
        """Whether the last suggestions that ended, in the order of their numbers, hardly enlarged the front."""
        ended = [t for t in self._trials() if t.state.is_finished() and t.state.name != "FAIL"]
        ran = [t for t in ended if _RAN in t.user_attrs]
        if len(ran) < PATIENCE:
            return False
        late = {t.number for t in ran[-PATIENCE:]}
        after, before = self._covered(ended), self._covered([t for t in ended if t.number not in late])
        return after <= before * (1 + GROWTH)

    def _covered(self, trials: Sequence[optuna.trial.FrozenTrial]) -> float:
        allowed = [t for t in trials if t.state.name == "COMPLETE" and all(v <= 0 for v in t.constraints.values())]
        points = np.array([t.values for t in allowed], dtype=np.float64).reshape(-1, 3)
        return hypervolume(points, np.array(self.bounds.reference))

    def _draw(self) -> Suggestion | Ended:
        """A recipe that nobody has tried and nothing speaks against; what was drawn in vain is put on record."""
        for draw in range(DRAWS):
            trials = self._trials()
            ended = sum(t.state.name in ("COMPLETE", "PRUNED") for t in trials)
            # What TPE has seen it likes, and draws again; chance draws something else.
            late = draw >= DRAWS // 2
            informed = ended >= STARTUP and not late
            listed = late and self._enqueue_rest()
            asked = self._ask(len(trials), informed)
            recipe = self.space.recipe(functools.partial(self._suggest, asked))
            seen = {t.user_attrs.get(_KEY) for t in trials if t.state.name != "FAIL"}
            if recipe.key in seen or self._known(recipe.key) is not None:
                self._drop(asked.number, "tried before")
                continue
            asked.set_user_attr(_RECIPE, recipe.to_dict())
            if why := self.space.obstacle(recipe) or self._obstacle(recipe):
                asked.set_user_attr(_REASON, why)
                asked.set_user_attr(_KEY, recipe.key)
                self._study.tell(asked.number, state=_state("PRUNED"))
            elif self.leases.take(recipe.key):
                how = "chosen by TPE from the trials so far" if informed else "drawn at random"
                said = "what draws had left of its space" if listed else how
                asked.set_user_attr(_WHY, f"exploration: {said}")
                asked.set_user_attr(_RAN, self.leases.worker)
                # Last: a suggestion without a key belongs to nobody.
                asked.set_user_attr(_KEY, recipe.key)
                return Suggestion(asked.number, Proposal(recipe, f"exploration: {said}"))
            else:
                self._drop(asked.number, "another worker runs it already")
        reason = f"{DRAWS} draws in a row gave no recipe that can work and was not tried"
        self._study.set_user_attr(_SPENT, reason)
        return Ended(reason)

    def _enqueue_rest(self) -> bool:
        """Of a space that can be listed, the first recipe that was never drawn is what the next trial will be."""
        tried = {t.user_attrs.get(_KEY) for t in self._trials() if t.state.name != "FAIL"}
        for recipe in self.space.recipes() or ():
            if recipe.key not in tried and self._known(recipe.key) is None:
                values = self.space.values_of(recipe)
                assert values is not None  # it was listed by this space
                self._study.enqueue_trial(values)
                return True
        return False

    def _ask(self, number: int, informed: bool) -> optuna.trial.Trial:
        """A new trial of Optuna's, by a sampler whose state nothing but seed, number and trials has shaped."""
        import optuna

        state = np.random.SeedSequence([self.bounds.seed, number]).generate_state(1)[0]
        self._study.sampler = optuna.samplers.TPESampler(
            seed=int(state), n_startup_trials=0 if informed else sys.maxsize
        )
        return self._study.ask()

    def _suggest(self, asked: optuna.trial.Trial, name: str) -> Any:
        setting = self.space.settings[name]
        if isinstance(setting, Choice):
            return asked.suggest_categorical(name, setting.values)
        return asked.suggest_float(name, setting.low, setting.high, step=setting.step)

    def _settle(self, number: int, trial: Trial) -> None:
        if trial.open:
            self._drop(number, trial.reason)
        elif trial.ok:
            merits = self._merits(trial)
            self._handle(number).set_constraint("harm", merits.excess)
            self._study.tell(number, merits.objectives)
        else:
            self._study.tell(number, state=_state("PRUNED"))

    def _drop(self, number: int, reason: str) -> None:
        """Take a suggestion back: it does not count, and the sampler learns nothing from it."""
        self._handle(number).set_user_attr(_DROPPED, reason)
        self._study.tell(number, state=_state("FAIL"))

    def _handle(self, number: int) -> optuna.trial.Trial:
        """Optuna's trial, to be written to: it may be another worker's, of which only the record is at hand."""
        import optuna

        found = next(t for t in self._trials() if t.number == number)
        return optuna.trial.Trial(self._study, found._trial_id)


def _state(name: str) -> Any:
    import optuna

    return optuna.trial.TrialState[name]
