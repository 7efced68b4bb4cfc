"""Step 5 of the main job: what is planned, then what the search proposes from what it measured."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from primum.config import OptimizationConfig, OptimizationLevel
from primum.hardware.machine import Machine
from primum.models.torch_module import build
from primum.progress import Progress
from primum.runtimes.base import get_runtime
from primum.runtimes.facts import GraphFacts, infeasible, read_facts
from primum.runtimes.macs import UNKNOWN, Macs, read_macs
from primum.study.objective import objective_of
from primum.study.planner import SCRIPTED, LeftOut, ModelFacts, Plan, Proposal, plan
from primum.study.race import ranked
from primum.study.recipe import Recipe
from primum.study.runner import Runner
from primum.study.search import Search
from primum.study.select import POSSIBLE, bar, of_runtime
from primum.study.trial import Status, Trial
from primum.study.variants import variants
from primum.techniques.network import NetworkFacts, network_facts
from primum.techniques.registry import keeps_layers
from primum.validation.planning import predict_confirmation
from primum.validation.verdict import Outcome
from primum.workflows.budget import SPENT, Budget
from primum.workflows.exploring import Exploring
from primum.workflows.mixed import Mixer
from primum.workflows.prepare import Prepared
from primum.workflows.searching import search_space
from primum.workflows.sharing import POLL_S, Phase, announce, asked, heard, share

_CHANGING = (OptimizationLevel.AGGRESSIVE, OptimizationLevel.MEDICAL_CRITICAL)
"""Levels at which the search changes the network."""


@dataclass
class Trials:
    """Runs trials within the budget of minutes and keeps what was left out."""

    runner: Runner
    prepared: Prepared
    config: OptimizationConfig
    machine: Machine
    progress: Progress
    left_out: list[LeftOut] = field(default_factory=list)
    ran: list[Trial] = field(default_factory=list)
    """What this process ran itself."""
    _budget: Budget = field(init=False)

    def __post_init__(self) -> None:
        """From here on the budget runs."""
        self._budget = Budget(self.config.budget_minutes)
        self.runner.deadline = self._budget.deadline

    def run(self, baseline: Trial, from_torch: bool, given: Sequence[Recipe]) -> list[Trial]:
        """All trials but the baseline's: planned, given by the user, found by the search."""
        chosen = self._plan(baseline, from_torch, given)
        for item in chosen.left_out:
            self.leave_out(item)
        store = self.runner.store
        store.keep("asked", asked(self.config, given))
        announce(store, Phase.PLANNED)
        self.progress.stage("Trials", len(chosen.proposals))
        done = share(chosen.proposals, self._try, self.runner.leases, self.progress.advance)
        announce(store, Phase.ALONE)
        done += [self._try(proposal) for proposal in self._variants([baseline, *done])]
        done = self._ranked(baseline, done)
        found: list[Trial] = []
        if why := self._fixed:
            if self.config.level in _CHANGING:
                self.leave_out(LeftOut("pruning, distillation", why))
        else:
            found += self._mixed([baseline, *done])
            found += self._search(baseline, [*done, *found])
        found += self._explored([baseline, *done, *found])
        announce(store, Phase.DONE)
        return self._ranked(baseline, [*done, *found]) if found else done

    def assist(self, baseline: Trial, from_torch: bool, given: Sequence[Recipe]) -> str:
        """A joiner's part: planned trials, then suggestions, as long as the leader works. Returns why it ended."""
        store, leases = self.runner.store, self.runner.leases
        for proposal in self._plan(baseline, from_torch, given).proposals:
            # What another worker holds is the leader's to wait for.
            if store.led and self.runner.known(proposal.recipe.key) is None and leases.take(proposal.recipe.key):
                self._try(proposal)
                leases.release(proposal.recipe.key)
        while store.led:
            phase, space, bounds = heard(store)
            if phase is Phase.DONE:
                return "nothing is left to run"
            if phase is Phase.EXPLORING and space is not None and bounds is not None:
                exploring = self._exploring()
                return exploring.work(exploring.explorer(space, bounds), self._still_explored)
            time.sleep(POLL_S)
        return "the leader of the study is gone"

    def _still_explored(self) -> bool:
        return heard(self.runner.store)[0] is Phase.EXPLORING and self.runner.store.led

    def _variants(self, trials: list[Trial]) -> list[Proposal]:
        graph = self._graph or GraphFacts()
        return variants(
            trials,
            self.config,
            self.machine,
            graph.transformer,
            depthwise=graph.depthwise > 0,
            changeable=self._fixed is None,
        )

    def _plan(self, baseline: Trial, from_torch: bool, given: Sequence[Recipe]) -> Plan:
        assert baseline.timings is not None
        facts = ModelFacts(
            from_torch=from_torch,
            weight_bytes=self.prepared.model.weight_bytes,
            image_input=len(self.prepared.model.input_shape) == 3,
            baseline_ms=baseline.timings.median,
            scripted=self.prepared.original.scripted,
            graph=self._graph,
            macs=self._macs,
        )
        chosen = plan(self.config, facts, self.machine)
        planned = {p.recipe.key for p in chosen.proposals}
        more, left_out = [], []
        for recipe in {r.key: r for r in map(self._threaded, given)}.values():
            why = self._obstacle(recipe)
            if why:
                left_out.append(LeftOut(str(recipe), why))
            elif recipe.key not in planned:
                more.append(Proposal(recipe, "given by the user"))
        return Plan((*chosen.proposals, *more), (*chosen.left_out, *left_out))

    def _threaded(self, recipe: Recipe) -> Recipe:
        """With the threads that every candidate gets, where the recipe names none."""
        if recipe.target.threads is not None or self.config.threads is None:
            return recipe
        return replace(recipe, target=recipe.target.model_copy(update={"threads": self.config.threads}))

    @functools.cached_property
    def _graph(self) -> GraphFacts | None:
        """Facts of the original's export; None where there is none."""
        onnx = self.prepared.original.onnx
        return read_facts(onnx) if onnx is not None else None

    def _graph_of(self, recipe: Recipe) -> GraphFacts | None:
        """What is known of the export after the recipe's techniques; None where they may make other layers."""
        if self._graph is None or not all(keeps_layers(t) for t in recipe.techniques):
            return None
        return replace(self._graph, product_shapes=None) if recipe.techniques else self._graph

    @functools.cached_property
    def _macs(self) -> Macs:
        """Multiply-accumulates of the original's export; none that are known where there is none."""
        onnx = self.prepared.original.onnx
        return read_macs(onnx) if onnx is not None else UNKNOWN

    @functools.cached_property
    def _network(self) -> NetworkFacts:
        """Facts of the original's torch module."""
        return network_facts(build(self.prepared.original.reference).module)

    @property
    def _fixed(self) -> str | None:
        """Why techniques cannot change the original, or None."""
        return self.prepared.original.reference.fixed

    def _obstacle(self, recipe: Recipe) -> str | None:
        """Why a recipe cannot work here, said before any time is spent on it."""
        if recipe.techniques and (why := self._fixed):
            return why
        if self.prepared.original.scripted and get_runtime(recipe.target.runtime).keeps_weights_only:
            return SCRIPTED
        graph = self._graph_of(recipe)
        if get_runtime(recipe.target.runtime).needs_onnx and graph is not None:
            why = infeasible(recipe.target, graph)
            if why:
                return why
        if recipe.trains and self.prepared.training is None:
            return "it trains: give --train-data, of patients that are not judged"
        network = self._network if recipe.techniques else None
        return recipe.obstacle(self.machine, self.prepared.original.signature, network)

    def promise(self, trial: Trial) -> float:
        """Chance that a trial would be confirmed, foretold from selection."""
        return predict_confirmation(trial.verdict, self._ratio) if trial.verdict is not None else 0.0

    def likely(self, trial: Trial) -> bool:
        """Whether that is enough to go on with it."""
        return self.promise(trial) >= bar(trial, self._ratio)

    @property
    def _ratio(self) -> float:
        """Patients of the confirmation set for each of the selection set."""
        parts = {p.name: p for p in self.prepared.data.parts}
        return parts["confirmation"].patients / max(parts["selection"].patients, 1)

    def _ranked(self, baseline: Trial, done: list[Trial]) -> list[Trial]:
        return ranked(self.runner, [baseline, *done], self.config.claims, self.progress.say)[1:]

    def _mixed(self, trials: list[Trial]) -> list[Trial]:
        def holds(trial: Trial) -> bool:
            return trial.ok and trial.outcome is not Outcome.INFERIOR and self.likely(trial)

        if self._spent():
            self.leave_out(LeftOut("mixed precision", SPENT))
            return []
        mixer = Mixer(self.runner, self._try, holds, self.leave_out, objective_of(self.config.objective))
        original, *others = trials
        return [made for name in self.config.claims for made in mixer.run([original, *of_runtime(others, name)])]

    def _search(self, baseline: Trial, planned: list[Trial]) -> list[Trial]:
        search = self._searching()
        done: list[Trial] = []
        while (proposal := search.next([baseline, *planned, *done])) is not None:
            if not done:
                self.progress.stage("Search")
            # One that was cut off has no result from which the search could go on.
            if self._spent() or (done and done[-1].status is Status.CUT_OFF):
                self.leave_out(LeftOut("the rest of the search", SPENT))
                return done
            self.progress.say(f"next: {proposal.recipe}: {proposal.why}")
            done.append(self._try(proposal))
        for item in search.left_out:
            self.leave_out(item)
        return done

    def _explored(self, trials: list[Trial]) -> list[Trial]:
        """Where it is asked for: the explored trials, then the best training of all with other seeds."""
        if not self.config.reduction.explore:
            return []
        self.progress.stage("Exploration")
        trains = self.prepared.training is not None and self.config.level in _CHANGING and not self._fixed
        done = self._exploring().lead(trials, trains)
        search = self._searching()
        while trains and not self._spent() and (again := search.repeat([*trials, *done])) is not None:
            done.append(self._try(again))
        return done

    def _exploring(self) -> Exploring:
        return Exploring(
            self.runner,
            self.config,
            self._try,
            self._obstacle,
            self.promise,
            self._spent,
            self.leave_out,
            lambda: self._minutes,
        )

    def _searching(self) -> Search:
        space = search_space(self.runner, self.prepared, self.config, self._minutes, self.leave_out)
        return Search(space, self.likely, lambda trial: self.promise(trial) >= POSSIBLE)

    @functools.cached_property
    def _minutes(self) -> float:
        """Of one training that search or exploration propose."""
        asked = self.config.reduction.training_minutes
        minutes = self._budget.training(asked, self.runner.store)
        if minutes < asked and self.config.level in _CHANGING and self.prepared.training is not None:
            self.leave_out(LeftOut(f"trainings of {asked:g} minutes", f"the budget leaves {minutes:g} for each"))
        return minutes

    def _try(self, proposal: Proposal) -> Trial:
        why = self._obstacle(proposal.recipe)
        trial = _skipped(proposal, why) if why else self.runner.known(proposal.recipe.key)
        if trial is None and self._spent():
            trial = _skipped(proposal, SPENT)
        if trial is None:
            trial = self.runner.trial(proposal)
            self.ran.append(trial)
        self.progress.say(one_line(trial))
        return trial

    def _spent(self) -> bool:
        return self._budget.spent

    def leave_out(self, item: LeftOut) -> None:
        """Keep, and say, that something was not tried and why; once."""
        if item not in self.left_out:
            self.left_out.append(item)
            self.progress.say(f"left out: {item.what}: {item.why}")


def _skipped(proposal: Proposal, reason: str) -> Trial:
    recipe = proposal.recipe
    return Trial(
        key=recipe.key,
        recipe=str(recipe),
        recipe_data=recipe.to_dict(),
        why=proposal.why,
        status=Status.SKIPPED,
        reason=reason,
    )


def one_line(trial: Trial) -> str:
    """What became of a trial."""
    if not trial.ok or trial.timings is None:
        return f"{trial.recipe}: {trial.status.value}: {trial.reason}"
    size = trial.size_bytes / 1e6
    speed = trial.timings.effective if trial.guard else trial.timings.ratio
    return f"{trial.recipe}: {speed:.2f}x, {size:.1f} MB, {trial.outcome.value} on selection"
