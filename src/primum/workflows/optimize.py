"""The main job: from a trained model and labelled data to the fastest artifact proven to be no worse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime

import numpy as np

from primum.benchmark.timing import Timings
from primum.config import ResolvedConfig
from primum.data.split import fractions
from primum.errors import InputError
from primum.files import storage
from primum.hardware.machine import Machine, this_machine
from primum.progress import Progress, Silent
from primum.runtimes.base import get_runtime
from primum.study.claim import Claim, NotDelivered
from primum.study.explore import require_optuna
from primum.study.guard import in_play
from primum.study.objective import objective_of
from primum.study.planner import LeftOut, Proposal, baseline_recipe
from primum.study.race import side_by_side
from primum.study.result import StudyResult
from primum.study.runner import Runner
from primum.study.search import repeats
from primum.study.select import best_lossless, of_runtime, pareto
from primum.study.store import Store
from primum.study.trial import Trial
from primum.task import Task
from primum.validation.cases import PATIENT
from primum.validation.unseen_plan import say_unseen
from primum.version import VERSION
from primum.workflows.claims import Claims, Settled, best_claim, not_delivered
from primum.workflows.confirmation import choose, confirm, declare_once, harmed, refused_unguarded
from primum.workflows.delivery import Delivery, seal_all
from primum.workflows.examine import CHECKED_CASES
from primum.workflows.guarding import Guarding, GuardLooks
from primum.workflows.looks import record_search
from primum.workflows.prepare import Prepared, fingerprint, prepare
from primum.workflows.request import OptimizeRequest
from primum.workflows.trials import Trials, one_line

FINAL_ROUNDS = 30
STAGE_IMAGES = 120


def optimize(request: OptimizeRequest, progress: Progress | None = None) -> Delivery:
    """Run (or go on with) the study in `request.out` and seal what it chose there.

    Raises InputError on anything that cannot be used, StorageError where nothing can be written.
    """
    progress = progress or Silent()
    resolved = request.config.resolve(request.options.task or Task.BINARY)
    for name in resolved.config.runtimes:
        get_runtime(name)
    if resolved.config.reduction.explore:
        require_optuna()
    store = Store(request.out / "study")
    with storage(request.out), store.locked():
        prepared = prepare(request, resolved, store.folder, progress, store)
        resumed = store.claim(fingerprint(prepared, resolved))
        store.same_answers(prepared.answers)
        _announce(prepared, resolved, resumed, progress)
        study = _Study(request, resolved, prepared, store, progress)
        return study.run()


def planned(request: OptimizeRequest, progress: Progress | None = None) -> Prepared:
    """Steps 1 to 3 alone: what the data at hand could show, before any trial."""
    store = Store(request.out / "study")
    with storage(request.out), store.locked():
        resolved = request.config.resolve(request.options.task or Task.BINARY)
        return prepare(request, resolved, store.folder, progress or Silent(), store)


def describe_plan(prepared: Prepared) -> list[str]:
    """Parts and planned power, as lines."""
    classes = [name[:14] for name in prepared.data.parts[0].counts]
    by_patient = prepared.data.unit == PATIENT
    counted, units = (
        ("patients", "confirmation patients") if by_patient else ("distinct", "distinct confirmation cases")
    )
    lines = [f"{'part':<13}{'share':>6}{'cases':>8}{counted:>10}" + "".join(f"{name:>16}" for name in classes)]
    shares = fractions(prepared.judging.split.guarded)
    for part in prepared.data.parts:
        counts = f"{part.cases:>8}{part.patients:>10}" + "".join(f"{size:>16}" for size in part.counts.values())
        lines.append(f"{part.name:<13}{shares[part.name]:>6.0%}{counts}")
    for name, power in prepared.power.items():
        for end in (power.sensitivity, power.specificity):
            margin_80 = f"{end.margin_80:.3f}" if end.margin_80 is not None else "none"
            called = f"{end.name}[{name}]" if name else end.name
            lines.append(
                f"{called}: power {end.power:.0%} at margin {end.margin:.3f} on {end.n} {units}, if "
                f"{power.loss:.1%} of decisions are lost and {power.gain:.1%} won (80 % power at margin {margin_80})"
            )
    judging = prepared.judging
    return [*lines, *say_unseen(judging.policy, judging.cases(judging.split.confirmation, prepared.original.signature))]


def notes(prepared: Prepared) -> list[str]:
    """What reading model and data had to choose, and how many cases were left out, as lines."""
    reasons = Counter(item.reason for item in prepared.data.excluded)
    counted = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common(3))
    left_out = [f"{reasons.total()} case(s) excluded ({counted}{', …' if len(reasons) > 3 else ''})"] if reasons else []
    return [*prepared.model.notes, *prepared.data.notes, *left_out]


def _announce(prepared: Prepared, resolved: ResolvedConfig, resumed: bool, progress: Progress) -> None:
    for line in describe_plan(prepared):
        progress.say(line)
    if prepared.model.positive:
        other = next(c for c in prepared.model.classes if c != prepared.model.positive)
        progress.say(f"positive class: {prepared.model.positive}; negative: {other}")
    else:
        progress.say(f"task: {prepared.model.task.value}: {', '.join(prepared.model.classes)}")
    if prepared.frozen is not None:
        progress.say(f"threshold {prepared.frozen.threshold:.4g}, frozen on the original's selection cases")
    if len(claims := resolved.config.claims) > 1:
        confidence = f"{100 * prepared.judging.policy.confidence:.4g} %"
        progress.say(f"one artifact each for {', '.join(claims)}: each claim is judged at a confidence of {confidence}")
    for line in (*resolved.adjustments, *notes(prepared)):
        progress.say(f"note: {line}")
    if resumed:
        minutes = resolved.config.budget_minutes
        more = f": {minutes:g} more minutes for what it has not tried" if minutes is not None else ""
        progress.say(f"going on with the study found in the output folder{more}")


class _Study:
    """The state of one run; the steps follow one another in `run`."""

    def __init__(
        self,
        request: OptimizeRequest,
        resolved: ResolvedConfig,
        prepared: Prepared,
        store: Store,
        progress: Progress,
    ) -> None:
        self.request, self.config, self.prepared = request, resolved.config, prepared
        self.resolved, self.store, self.progress = resolved, store, progress
        self.machine: Machine = this_machine()
        self.from_torch = request.model.onnx is None
        self.objective = objective_of(self.config.objective)

    def run(self) -> Delivery:
        recipe = baseline_recipe(self.from_torch, self.config.threads)
        runner = Runner(
            self.prepared.original,
            self.prepared.judging,
            self.store,
            Proposal(recipe, "the original as it stands"),
            self.config.seed,
            self.request.trial_timeout_s,
            self.prepared.training,
        )
        record_search(self.prepared.judging.data, self.prepared.judging.split, self.prepared.original.digest)
        with runner:
            self.progress.stage("Baseline: the original as it stands")
            baseline = runner.baseline()
            for line in baseline.fit:
                self.progress.say(f"note: {line}")
            tried = Trials(runner, self.prepared, self.config, self.machine, self.progress)
            trials = [baseline, *tried.run(baseline, self.from_torch, self.request.recipes)]
            looks = self._guard(runner, tried, trials)
            settled, absent = self._settle(runner, trials, tried.left_out)
            final = self._final(runner, trials, settled)
            claims = self._claims(runner, trials, final, settled, looks)
        result = self._result(trials, tried.left_out, final, claims, absent)
        data, parts = self.prepared.judging.data, self.prepared.judging.split
        sample = np.asarray(data.inputs[parts.calibration[:CHECKED_CASES]])
        return seal_all(result, self.store, self.prepared.original, sample, self.request.out, self.progress)

    def _guard(self, runner: Runner, tried: Trials, trials: list[Trial]) -> GuardLooks:
        """Add the guarded forms to `trials`, where guarded prediction is asked for."""
        policy = self.resolved.guard
        if policy is None:
            return GuardLooks()
        guarding = Guarding(runner, self.config, policy, self.progress, tried.promise, tried.leave_out)
        alone = list(trials)
        for made in guarding.run(alone):
            trials.append(made)
            self.progress.say(one_line(made))
        return guarding.looks(alone)

    def _settle(
        self, runner: Runner, trials: list[Trial], left_out: Sequence[LeftOut]
    ) -> tuple[list[Settled], list[NotDelivered]]:
        """Declare the sequence of every claim, open the locked part for each, and choose.

        Raises InputError where nothing can be delivered for any.
        """
        in_question = [t for t in in_play(trials, self.resolved.guard) if not repeats(t)]
        eligible = {name: of_runtime(in_question, name) for name in self.config.claims}
        declared = declare_once(self.store, self.prepared, eligible, self.objective)
        opened = confirm(runner, self.store, trials, declared, self.progress)
        settled: list[Settled] = []
        absent: list[NotDelivered] = []
        for name, own in eligible.items():
            choice = choose(own, declared[name], opened[name].confirmations, self.config)
            if choice is None:
                absent.append(not_delivered(name, trials, left_out))
                self.progress.say(f"nothing is delivered for {name}: {absent[-1].reason}")
                continue
            choice = refused_unguarded(choice, of_runtime(trials, name), self.objective)
            settled.append(Settled(name, declared[name], opened[name], choice))
        if not settled:
            raise InputError(
                "; ".join(f"nothing can be delivered for {item.runtime}: {item.reason}" for item in absent)
            )
        return settled, absent

    def _final(self, runner: Runner, trials: list[Trial], settled: Sequence[Settled]) -> dict[str, Timings]:
        """Original, finalists and what they had to beat, once more: the figures that are quoted."""
        floors = (best_lossless(of_runtime(trials, one.runtime), self.objective) for one in settled)
        finalists = [key for one in settled for key in one.finalists] + [t.key for t in floors if t is not None]
        self.progress.stage("Final timing, interleaved")
        return side_by_side(runner, list(finalists), FINAL_ROUNDS)

    def _claims(
        self,
        runner: Runner,
        trials: list[Trial],
        final: dict[str, Timings],
        settled: Sequence[Settled],
        looks: GuardLooks,
    ) -> tuple[Claim, ...]:
        declared_at = str((self.store.record("declared") or {}).get("when", ""))
        plain = self.request.plain_case_ids
        make = Claims(runner, self.prepared, self.config, trials, final, declared_at, plain, STAGE_IMAGES, looks)
        self.progress.stage("Why decisions changed", len(settled))
        return tuple(make.make(one) for one in settled)

    def _result(
        self,
        trials: list[Trial],
        left_out: Sequence[LeftOut],
        final: dict[str, Timings],
        claims: tuple[Claim, ...],
        absent: Sequence[NotDelivered],
    ) -> StudyResult:
        best = best_claim(claims, self.objective)
        return StudyResult(
            **{f.name: getattr(best, f.name) for f in fields(Claim)},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            version=VERSION,
            machine=self.machine,
            level=self.config.level,
            objective=self.objective.name,
            adjustments=self.resolved.adjustments,
            policy=self.prepared.judging.policy,
            model=replace(self.prepared.model, notes=(*self.prepared.model.notes, *trials[0].fit)),
            data=self.prepared.data,
            power=self.prepared.power,
            baseline=trials[0],
            trials=tuple(trials),
            left_out=tuple(left_out),
            front=pareto([t for t in trials if not repeats(t)]),
            final=final,
            harmed=harmed(trials, [c for claim in claims for c in claim.confirmations]),
            frozen=self.prepared.frozen,
            claims=claims,
            overall=best.runtime,
            not_delivered=tuple(absent),
        )
