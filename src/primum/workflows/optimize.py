"""The main job: from a trained model and labelled data to the fastest artifact proven to be no worse."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from primum.artifact.manifest import artifact_digest
from primum.benchmark.statistics import calculate_stage_statistics
from primum.benchmark.timing import Timings, interleave, summarize
from primum.config import ResolvedConfig
from primum.data.split import FRACTIONS
from primum.files import storage
from primum.hardware.machine import Machine, this_machine
from primum.progress import Progress, Silent
from primum.reporting import render
from primum.reporting.evidence import write_evidence
from primum.reporting.modification_record import declared_first
from primum.runtimes.base import get_runtime
from primum.study.explore import require_optuna
from primum.study.guard import guard_result, in_play
from primum.study.planner import Proposal, baseline_recipe
from primum.study.result import Confirmation, Judged, StudyResult, Why, summary
from primum.study.runner import Runner
from primum.study.search import repeats
from primum.study.select import Declared, best_lossless, pareto
from primum.study.store import Store
from primum.study.trial import Trial
from primum.task import Task
from primum.validation.verdict import Outcome
from primum.version import VERSION
from primum.workflows.assess import assess_delivered
from primum.workflows.confirmation import Choice, choose, confirm, declare_once, harmed, refused_unguarded
from primum.workflows.explain import explain
from primum.workflows.prepare import Prepared, fingerprint, prepare
from primum.workflows.request import OptimizeRequest
from primum.workflows.seal import seal
from primum.workflows.trials import Trials

FINAL_ROUNDS = 30
STAGE_IMAGES = 120
STAGE_BLOCK = 10


@dataclass(frozen=True)
class Delivery:
    """What optimize left on disk, and the result behind it."""

    result: StudyResult
    artifact: Path
    report: Path
    digest: str
    """Of the sealed artifact; kept elsewhere, it shows that nobody changed it."""

    def summary(self) -> dict[str, Any]:
        """Plain data, as `primum optimize --json` prints it."""
        return {**summary(self.result, self.artifact, self.report), "digest": self.digest}


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
        prepared = prepare(request, resolved, store.folder, progress)
        resumed = store.claim(fingerprint(prepared, resolved))
        store.same_answers(prepared.answers)
        _announce(prepared, resolved, resumed, progress)
        study = _Study(request, resolved, prepared, store, progress)
        return study.run()


def planned(request: OptimizeRequest, progress: Progress | None = None) -> Prepared:
    """Steps 1 to 3 alone: what the data at hand could show, before any trial."""
    store = Store(request.out / "study")
    with storage(request.out), store.locked():
        return prepare(
            request, request.config.resolve(request.options.task or Task.BINARY), store.folder, progress or Silent()
        )


def describe_plan(prepared: Prepared) -> list[str]:
    """Parts and planned power, as lines."""
    classes = [name[:14] for name in prepared.data.parts[0].counts]
    lines = [f"{'part':<13}{'share':>6}{'cases':>8}{'patients':>10}" + "".join(f"{name:>16}" for name in classes)]
    for part in prepared.data.parts:
        counts = f"{part.cases:>8}{part.patients:>10}" + "".join(f"{size:>16}" for size in part.counts.values())
        lines.append(f"{part.name:<13}{FRACTIONS[part.name]:>6.0%}{counts}")
    for name, power in prepared.power.items():
        for end in (power.sensitivity, power.specificity):
            margin_80 = f"{end.margin_80:.3f}" if end.margin_80 is not None else "none"
            called = f"{end.name}[{name}]" if name else end.name
            lines.append(
                f"{called}: power {end.power:.0%} at margin {end.margin:.3f} on {end.n} confirmation patients, if "
                f"{power.loss:.1%} of decisions are lost and {power.gain:.1%} won (80 % power at margin {margin_80})"
            )
    return lines


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
    for line in (*resolved.adjustments, *notes(prepared)):
        progress.say(f"note: {line}")
    if resumed:
        progress.say("going on with the study found in the output folder")


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
        with runner:
            self.progress.stage("Baseline: the original as it stands")
            baseline = runner.baseline()
            tried = Trials(runner, self.prepared, self.config, self.machine, self.progress)
            trials = [baseline, *tried.run(baseline, self.from_torch, self.request.recipes)]
            trials += tried.guarded(trials, self.resolved.guard)
            eligible = [t for t in in_play(trials, self.resolved.guard) if not repeats(t)]
            declared = declare_once(self.store, self.prepared, eligible)
            confirmations, prior = confirm(runner, self.store, trials, declared, self.progress)
            choice = refused_unguarded(choose(eligible, declared, confirmations, self.config), trials)
            winner, verdict = choice.winner, choice.verdict
            final = self._final(runner, trials, winner, declared)
            stages = self._stages(runner, baseline, winner)
            part = "confirmation" if any(c.key == winner.key for c in confirmations) else "selection"
            guarded = guard_result(runner, winner, final, part) if winner.guard else None
            declared_at = str((self.store.record("declared") or {}).get("when", ""))
            first = bool(confirmations) and all(declared_first(declared_at, c.opened) for c in confirmations)
            plain, frozen = self.request.plain_case_ids, self.prepared.frozen
            assessment = assess_delivered(runner, winner, part, self.config, frozen, first, plain)
            why = self._explain(runner, trials, confirmations, choice)
        judged = self._judged(baseline, winner, part)
        lossy_chosen = not winner.lossless and winner.key != baseline.key
        result = StudyResult(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            version=VERSION,
            machine=self.machine,
            level=self.config.level,
            adjustments=self.resolved.adjustments,
            policy=self.prepared.judging.policy,
            model=self.prepared.model,
            data=self.prepared.data,
            power=self.prepared.power,
            baseline=baseline,
            trials=tuple(trials),
            left_out=tuple(tried.left_out),
            front=pareto([t for t in trials if not repeats(t)]),
            declared=declared.keys,
            declared_reason=declared.reason,
            confirmations=confirmations,
            prior_openings=prior,
            winner=winner,
            accepted=verdict.outcome is Outcome.NON_INFERIOR and (lossy_chosen or choice.recipe == winner.recipe),
            unproven=lossy_chosen and verdict.outcome is not Outcome.NON_INFERIOR,
            verdict=verdict,
            verdict_recipe=choice.recipe,
            reasons=choice.reasons,
            final=final,
            stages=stages,
            judged=judged,
            harmed=harmed(trials, confirmations),
            frozen=self.prepared.frozen,
            guard=guarded,
            assessment=assessment,
            why=why,
            declared_at=declared_at,
        )
        return self._seal(result)

    def _final(self, runner: Runner, trials: list[Trial], winner: Trial, declared: Declared) -> dict[str, Timings]:
        """Original and finalists once more, interleaved in one run: the figures that are quoted."""
        baseline, lossless = trials[0], best_lossless(trials)
        parts = [winner.guard.of, winner.guard.reference] if winner.guard else []
        floor = [lossless.key] if lossless else []
        finalists = dict.fromkeys([baseline.key, winner.key, *parts, *declared.keys, *floor])
        self.progress.stage("Final timing, interleaved")
        data, rows = self.prepared.judging.data, runner.timed_rows()
        with contextlib.ExitStack() as stack:
            opened = {key: runner.session(key) for key in finalists}
            for process, _ in opened.values():
                stack.enter_context(process)
            sessions = {key: process for key, (process, _) in opened.items()}
            taken = interleave(sessions, data.path, rows, FINAL_ROUNDS, self.config.seed)
            return {
                key: summarize(taken[key], taken[baseline.key], facts, process, opened[baseline.key][0])
                for key, (process, facts) in opened.items()
            }

    def _stages(self, runner: Runner, baseline: Trial, winner: Trial) -> dict[str, dict[str, dict[str, Any]]]:
        """Latency by stage from the raw image to the decision, original and delivered in turn."""
        cases = self.prepared.judging.data.cases
        rows = np.resize(self.prepared.judging.split.selection, STAGE_IMAGES)
        images = [_raw_image(cases, int(row)) for row in rows]
        with contextlib.ExitStack() as stack:
            keys = {"original": baseline.key, "delivered": winner.key}
            processes = {name: stack.enter_context(runner.session(key)[0]) for name, key in keys.items()}
            taken: dict[str, list[dict[str, Any]]] = {name: [] for name in keys}
            for start in range(0, len(images), STAGE_BLOCK):
                for name, process in processes.items():
                    taken[name].append(process.stages(images[start : start + STAGE_BLOCK]))
        return {
            name: {
                stage: calculate_stage_statistics(np.concatenate([block[stage] for block in blocks]))
                for stage in blocks[0]
            }
            for name, blocks in taken.items()
        }

    def _explain(
        self, runner: Runner, trials: list[Trial], confirmations: Sequence[Confirmation], choice: Choice
    ) -> Why | None:
        self.progress.stage("Why decisions changed")
        decided = next(t.key for t in trials if t.recipe == choice.recipe)
        return explain(runner, trials, confirmations, decided)

    def _judged(self, baseline: Trial, winner: Trial, part: str) -> Judged:
        reference, candidate = self.store.scores(baseline.key, part), self.store.scores(winner.key, part)
        assert reference is not None and candidate is not None
        judging = self.prepared.judging
        cases = judging.cases(judging.split.parts()[part], self.prepared.original.signature)
        return Judged(part, cases.labels, reference, candidate)

    def _seal(self, result: StudyResult) -> Delivery:
        self.progress.stage("Report and seal")
        out, winner = self.request.out, result.winner
        needs_factory = not winner.self_contained
        seal(
            self.store.candidate(winner.key),
            winner,
            (
                result.verdict if result.verdict_recipe == winner.recipe else winner.verdict or result.verdict
            ).outcome.value,
            result.unproven,
            self.machine.fingerprint,
            out / "artifact",
            lambda place: write_evidence(result, place),
            self.prepared.original.factory if needs_factory else None,
            result.guard.outcome.deferred if result.guard else None,
        )
        render(result, out)
        return Delivery(result, out / "artifact", out / "report.html", artifact_digest(out / "artifact"))


def _raw_image(cases: Any, row: int) -> Any:
    from primum.data.sources import FolderSource, ZipSource

    position = int(cases.index[row])
    encoded = isinstance(cases.source, FolderSource | ZipSource)
    return cases.source.content(position) if encoded else cases.source.item(position)
