"""What to try next, from what was measured: compositions in the order prune, distil, quantize.

A pure function of the trials so far, so that a killed study goes on where it was. It looks for the largest share of
channels that can go while verdicts hold, each stage judged before the next is paid for, and stops where less network
gains no more speed: then the call itself is the cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from primum.config import MEDICAL_PRUNE_RATIO, OptimizationConfig, OptimizationLevel
from primum.runtimes.base import Target
from primum.study.beyond import Idea, students, to_latency
from primum.study.objective import Objective, objective_of
from primum.study.planner import LeftOut, Proposal
from primum.study.recipe import Recipe, recipe_of
from primum.study.select import best_lossless, of_runtime
from primum.study.space import EPOCHS
from primum.study.trial import Trial
from primum.techniques.distillation.distill import Distill
from primum.techniques.pruning.structured import PruneChannels
from primum.techniques.registry import TechniqueConfig, make, technique_of
from primum.validation.verdict import Outcome

RATIOS = (0.1, 0.2, 0.3, 0.5, 0.65, 0.75, 0.85)
"""Shares of channels of each layer, from conservative to aggressive."""
SEEDS = (1, 2)
"""Further trainings of what trained best: how far the outcome hangs on chance. They are reported, never delivered."""
_HALF = 0.5
"""Weight of the teacher where following it closely was not enough: what it gets wrong, labels teach better."""
_MATCHING: dict[str, Any] = {"alpha": 1.0, "mixup": 1.0, "temperature": 16.0, "epochs": EPOCHS}
"""Long and by the original alone, on blends that it answers for (Beyer et al. 2022, arXiv:2106.05237), its logits
themselves: what high temperatures come to (Kim et al. 2021, arXiv:2105.08919)."""
_TAUGHT = ("taught by the original", "taught by the original and the labels alike", "taught by {method} besides")
_WORTH = 1.05
"""The next share must have promised this much more merit, or it is the end of the search."""


@dataclass(frozen=True)
class SearchSpace:
    """What may be tried, and what training may cost."""

    config: OptimizationConfig
    trained: bool
    """There are training data."""
    minutes: float
    """Of one training."""
    wanted: tuple[float, ...] = RATIOS
    method: Literal["dkd", "hints"] | None = None
    """A third way to teach, where the first two nearly held: decoupled among three classes or more, else by hints."""
    students: tuple[tuple[float, float], ...] = ()
    """(width, depth) of the students with fewer blocks that can be made."""
    to_latency: bool = False
    """A latency can be measured while channels are removed."""

    @property
    def objective(self) -> Objective:
        """What more is wanted of."""
        return objective_of(self.config.objective)

    @property
    def most(self) -> float:
        """The largest share of channels that the level or the user allows."""
        critical = self.config.level is OptimizationLevel.MEDICAL_CRITICAL
        most = self.config.reduction.largest_ratio or max(self.wanted)
        return min(most, MEDICAL_PRUNE_RATIO) if critical else most

    @property
    def ratios(self) -> tuple[float, ...]:
        """Shares of channels, at most what the level or the user allows."""
        return tuple(r for r in self.wanted if r <= self.most + 1e-9)


@dataclass
class Search:
    """Proposes one recipe at a time; `left_out` says what was not worth trying."""

    space: SearchSpace
    likely: Callable[[Trial], bool]
    """Whether a trial would as likely as not be confirmed, foretold from selection."""
    possible: Callable[[Trial], bool] = lambda trial: False
    """Whether it might be, though it is not likely."""
    left_out: list[LeftOut] = field(default_factory=list)

    def next(self, trials: Sequence[Trial]) -> Proposal | None:
        """The next recipe to try; None where nothing is left that could enter the Pareto front."""
        self.left_out = []
        if self.space.config.level not in (OptimizationLevel.AGGRESSIVE, OptimizationLevel.MEDICAL_CRITICAL):
            return None
        if not self.space.trained:
            self._skip("pruning, distillation", "they change weights and need --train-data to recover what that loses")
            return None
        return self._of_any_claim(self._explore, trials) or self.repeat(trials)

    def repeat(self, trials: Sequence[Trial]) -> Proposal | None:
        """The best training of a claim with another seed; None where that was done."""
        return self._of_any_claim(self._repeat, trials)

    def _of_any_claim(
        self, step: Callable[[Sequence[Trial]], Proposal | None], trials: Sequence[Trial]
    ) -> Proposal | None:
        found = (step(of_runtime(trials, name)) for name in self.space.config.claims)
        return next((proposal for proposal in found if proposal is not None), None)

    def _explore(self, trials: Sequence[Trial]) -> Proposal | None:
        """The next composition for one claim, whose trials these are; stages that claims share are paid for once."""
        lossless, fast = _targets(trials, self.space.objective)
        if lossless is None:
            self._skip("pruning, distillation", "no graph runtime runs the original; the changed network needs one")
            return None
        known = {t.key: t for t in trials}
        for proposal in self._singles(lossless):
            if proposal.recipe.key not in known:
                return proposal
        return self._compose(known, lossless, fast) or self._beyond(known, lossless, fast)

    def _beyond(self, known: Mapping[str, Trial], lossless: Target, fast: Target | None) -> Proposal | None:
        """What equal shares of all layers do not reach."""
        if self.space.config.level is not OptimizationLevel.AGGRESSIVE:
            return None
        distill = make("distill", {"max_minutes": self.space.minutes, **_MATCHING})
        for idea in students(self.space.students, distill):
            proposal = self._idea(known, idea, lossless, fast)
            if proposal is not None:
                return proposal
            # A smaller one would hold even less.
            if not self._good(known[Recipe(lossless, idea.techniques).key]):
                break
        if not self.space.to_latency or self.space.config.objective != "latency":
            return None
        found = to_latency(known, self._leading(known), fast or lossless, self.space.most, distill)
        return self._idea(known, found, fast or lossless, None) if found else None

    def _idea(self, known: Mapping[str, Trial], idea: Idea, first: Target, fast: Target | None) -> Proposal | None:
        recipe = Recipe(first, idea.techniques)
        if recipe.key not in known:
            return Proposal(recipe, idea.why)
        then = Recipe(fast, idea.techniques) if fast is not None and self._good(known[recipe.key]) else None
        return Proposal(then, f"{idea.why}, in INT8") if then is not None and then.key not in known else None

    def _leading(self, known: Mapping[str, Trial]) -> Trial | None:
        """The best candidate so far, if it is one of those whose channels were removed in equal shares."""
        best = self.space.objective.best([t for t in known.values() if self._good(t) and not repeats(t)])
        pruned = best is not None and any(isinstance(t, PruneChannels) for t in recipe_of(best).techniques)
        return best if pruned else None

    def _singles(self, lossless: Target) -> list[Proposal]:
        """Each technique alone, for the comparison that a reader makes first."""
        first = self.space.ratios[min(2, len(self.space.ratios) - 1)]
        prune = (make("prune_channels", {"ratio": first}), make("reestimate_batch_norm", {}))
        return [Proposal(Recipe(lossless, prune), "pruning alone: what no training recovers")]

    def _compose(self, known: Mapping[str, Trial], lossless: Target, fast: Target | None) -> Proposal | None:
        """Bisect for the largest share whose last stage is likely to be confirmed."""
        ratios = self.space.ratios
        low, high = -1, len(ratios)
        while high - low > 1:
            middle = (low + high) // 2
            ended = self._stages(known, ratios[middle], lossless, fast)
            if isinstance(ended, Proposal):
                return ended
            if not ended:
                high = middle
            elif low >= 0 and not self._better(known, ratios[low], ratios[middle], fast or lossless):
                why = f"less network was hardly {self.space.objective.better}"
                self._skip(f"more than {ratios[middle]:.0%} of channels removed", why)
                return None
            else:
                low = middle
        if high < len(ratios):
            self._skip(f"more than {ratios[high]:.0%} of channels removed", "that share was already too much")
        return None

    def _stages(
        self, known: Mapping[str, Trial], ratio: float, lossless: Target, fast: Target | None
    ) -> Proposal | bool:
        """The stage of `ratio` that is to be tried next, or whether the last one may be delivered."""
        taught = self._taught(known, ratio, lossless)
        if isinstance(taught, Proposal):
            return taught
        if taught is None:
            if (bold := self._bold(known, ratio, lossless, fast)) is not None:
                return bold
            self._skip(f"INT8 after {ratio:.0%} of channels removed", "the stage before it was not good enough")
            return False
        if fast is None:
            return True
        for extra, why in (((), "the recovered network in INT8"), (self._aware(taught), "INT8 learned in training")):
            recipe = Recipe(fast, (*taught, *extra))
            if recipe.key not in known:
                return Proposal(recipe, f"{ratio:.0%} of channels removed: {why}")
            if self._good(known[recipe.key]):
                return True
        return False

    def _taught(
        self, known: Mapping[str, Trial], ratio: float, lossless: Target
    ) -> Proposal | tuple[TechniqueConfig, ...] | None:
        """The training of `ratio` to be tried next, the one that is good enough, or None where none is."""
        for techniques, told in zip(self._trainings(ratio), _TAUGHT):
            why = told.format(method=self.space.method)
            recipe = Recipe(lossless, techniques)
            if recipe.key not in known:
                return Proposal(recipe, f"{ratio:.0%} of channels removed, then {why}")
            if self._good(known[recipe.key]):
                return techniques
            if not known[recipe.key].ok or known[recipe.key].outcome is Outcome.INFERIOR:
                return None
        return None

    def _bold(
        self, known: Mapping[str, Trial], ratio: float, lossless: Target, fast: Target | None
    ) -> Proposal | bool | None:
        """INT8, which takes no training, of a network that may yet be confirmed; whether that is likely to be. None
        where no training gave one.
        """
        if fast is None:
            return None
        for techniques in self._trainings(ratio):
            stage = known.get(Recipe(lossless, techniques).key)
            if stage is None or not _unharmed(stage) or not self.possible(stage):
                continue
            recipe = Recipe(fast, techniques)
            if recipe.key not in known:
                return Proposal(recipe, f"{ratio:.0%} of channels removed: in INT8, though less than likely")
            return self._good(known[recipe.key])
        return None

    def _repeat(self, trials: Sequence[Trial]) -> Proposal | None:
        """The best trained candidate that may be delivered, with other seeds."""
        seeded = [t for t in trials if t.ok and recipe_of(t).trains and not recipe_of(t).seed]
        trained = [t for t in seeded if self._good(t) or (_unharmed(t) and self.possible(t))]
        if not trained:
            return None
        known = {t.key for t in trials}
        best = recipe_of(self.space.objective.best(trained) or trained[0])
        for seed in SEEDS:
            again = Recipe(best.target, best.techniques, seed)
            if again.key not in known:
                return Proposal(again, "the same training with another seed: reported, not delivered")
        return None

    def _trainings(self, ratio: float) -> tuple[tuple[TechniqueConfig, ...], ...]:
        """Ways to recover from pruning, as _TAUGHT tells them."""
        prune, minutes = make("prune_channels", {"ratio": ratio}), self.space.minutes
        with_labels = {"alpha": _HALF, "epochs": EPOCHS}
        ways = [_MATCHING, with_labels]
        if self.space.method is not None:
            ways.append({**with_labels, "method": self.space.method})
        return tuple((prune, make("distill", {"max_minutes": minutes, **settings})) for settings in ways)

    def _aware(self, taught: tuple[TechniqueConfig, ...]) -> tuple[TechniqueConfig, ...]:
        """Training for INT8 by the teacher and labels as they recovered the network."""
        alpha = next(t.alpha for t in taught if isinstance(t, Distill))
        return (make("qat", {"max_minutes": self.space.minutes / 2, "alpha": alpha}),)

    def _good(self, trial: Trial) -> bool:
        return _unharmed(trial) and self.likely(trial)

    def _better(self, known: Mapping[str, Trial], less: float, more: float, target: Target) -> bool:
        merits = []
        for ratio in (less, more):
            keys = (Recipe(target, techniques).key for techniques in self._trainings(ratio))
            tried = [known[key] for key in keys if key in known]
            if tried:
                merits.append(max(self.space.objective.merit(t) for t in tried))
        return len(merits) < 2 or merits[1] > merits[0] * _WORTH

    def _skip(self, what: str, why: str) -> None:
        item = LeftOut(what, why)
        if item not in self.left_out:
            self.left_out.append(item)


def _targets(trials: Sequence[Trial], objective: Objective) -> tuple[Target | None, Target | None]:
    """The best lossless target and the best INT8 one that build from an ONNX export."""
    plain = [t for t in trials if t.ok and t.self_contained and not recipe_of(t).techniques]
    graphs = [t for t in plain if recipe_of(t).target.runtime in ("onnxruntime", "openvino")]
    lossless = best_lossless(graphs, objective)
    integer = [t for t in graphs if recipe_of(t).target.precision == "int8"]
    fast = objective.best(integer)
    return (recipe_of(lossless).target if lossless else None), (recipe_of(fast).target if fast else None)


def _unharmed(trial: Trial) -> bool:
    return trial.ok and trial.outcome in (Outcome.NON_INFERIOR, Outcome.INCONCLUSIVE)


def repeats(trial: Trial) -> bool:
    """Whether the trial only repeats a training with another seed."""
    recipe = recipe_of(trial)
    return bool(recipe.seed) and any(technique_of(t).trains for t in recipe.techniques)
