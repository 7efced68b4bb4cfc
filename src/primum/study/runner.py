"""Runs trials one by one: build, load, compare, judge, time. Each ends in one record."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from primum.artifact.manifest import NAME
from primum.artifact.predictor import Proven
from primum.benchmark.timing import Timings, interleave, summarize
from primum.benchmark.turn import working
from primum.errors import BudgetSpent, InputError, TrialError
from primum.files import size_of
from primum.runtimes.base import get_runtime
from primum.runtimes.isolated import Isolated
from primum.runtimes.load import MODEL, REFERENCE
from primum.study.build import Built
from primum.study.judging import Judging
from primum.study.labelling import check_labels
from primum.study.leases import Leases
from primum.study.original import Original
from primum.study.parity import broken, compare, tolerance_of
from primum.study.planner import Proposal
from primum.study.recipe import Recipe, recipe_of
from primum.study.stages import TrainingFiles, Workshop
from primum.study.store import Store
from primum.study.trial import Parity, Status, Trial
from primum.validation.cases import Cases
from primum.validation.decisions import Rule, rule_for
from primum.validation.gate import judge
from primum.validation.verdict import Verdict

LEADER = "leader"
"""What the leases of the process that leads a study say."""
TIMED_ROUNDS = 12
CALIBRATION = 300
"""Cases that set quantization ranges."""
TRAINING_TIMEOUT = 12 * 3600.0
"""Seconds after which training counts as hung; its length is for its own settings and the budget to say."""


class Runner:
    """Holds the baseline's process open while trials run; a context manager."""

    def __init__(
        self,
        original: Original,
        judging: Judging,
        store: Store,
        baseline: Proposal,
        seed: int,
        timeout: float = 900.0,
        training: TrainingFiles | None = None,
        leases: Leases | None = None,
    ) -> None:
        self.original, self.judging, self.store = original, judging, store
        self.leases = leases or Leases(store.folder / "leases", LEADER)
        self.workshop = Workshop(store.stages, judging.data.path, judging.split.calibration[:CALIBRATION], training)
        self._baseline_proposal, self.seed, self.timeout = baseline, seed, timeout
        self.deadline: float | None = None
        """When trials are cut off, by `time.monotonic`: never, unless somebody sets it."""
        self._open = contextlib.ExitStack()
        self._baseline: Isolated | None = None
        self._baseline_opened: dict[str, Any] = {}
        self._raw: NDArray[np.float32] | None = None

    def __enter__(self) -> Runner:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the baseline's process."""
        self._open.close()

    def baseline(self) -> Trial:
        """The trial of the original as it stands; InputError where it cannot run, for then nothing can be judged."""
        proposal = self._baseline_proposal
        trial = self.known(proposal.recipe.key)
        if trial is None or not trial.ok:
            trial = self._attempt(proposal)
            self.store.save(trial)
        if not trial.ok:
            raise InputError(f"the original does not run: {trial.reason}")
        return trial

    def trial(self, proposal: Proposal) -> Trial:
        """The trial of one recipe: the record of an earlier run, or a new one."""
        known = self.known(proposal.recipe.key)
        if known is not None:
            return known
        with self.leases.holding(proposal.recipe.key):
            # Another worker may have run it while this one waited.
            known = self.known(proposal.recipe.key)
            if known is not None:
                return known
            self.leases.sign(proposal.recipe.key)
            trial = self._attempt(proposal)
            self.store.save(trial)
        return trial

    def known(self, key: str) -> Trial | None:
        """The record of an earlier run; None where there is none, or where the files it speaks of are gone."""
        trial = self.store.trial(key)
        if trial is None or trial.open:
            return None
        whole = trial.status is Status.FAILED or (self.store.candidate(key) / NAME).is_file()
        return trial if whole and (not trial.ok or self.store.scores(key, "selection") is not None) else None

    def confirm(self, trial: Trial) -> Verdict:
        """Judge a candidate on the locked part. The ledger must have been written before."""
        part = "confirmation"
        reference, candidate = self.scores(self.baseline_key, part), self.scores(trial.key, part)
        return judge(self.cases(part), reference, candidate, self.judging.policy, exported=_exact(trial))

    @property
    def baseline_key(self) -> str:
        """Key of the original's own trial."""
        return self._baseline_proposal.recipe.key

    @property
    def rule(self) -> Rule | None:
        """How scores become decisions; None where the model gives values."""
        signature = self.original.signature
        return rule_for(signature.task, signature.classes, self.judging.policy)

    def cases(self, part: str) -> Cases:
        """The judged cases of a part."""
        return self.judging.cases(self.judging.split.parts()[part], self.original.signature)

    def session(self, key: str, deadline: float | None = None) -> tuple[Isolated, dict[str, Any]]:
        """A fresh process with a built candidate loaded; the caller closes it."""
        folder = self.store.candidate(key)
        process = Isolated(self.timeout, deadline)
        try:
            with working():
                return process, process.open(folder, self._example(), self._factory_for(key))
        except TrialError:
            process.close()
            raise

    def _attempt(self, proposal: Proposal) -> Trial:
        recipe = proposal.recipe
        head: dict[str, Any] = {
            "key": recipe.key,
            "recipe": str(recipe),
            "recipe_data": recipe.to_dict(),
            "why": proposal.why,
            "self_contained": self.original.scripted or not get_runtime(recipe.target.runtime).keeps_weights_only,
        }
        try:
            return self._run(proposal, head)
        except BudgetSpent as error:
            return Trial(**head, status=Status.CUT_OFF, reason=str(error))
        except TrialError as error:
            return Trial(**head, status=Status.FAILED, reason=str(error))

    def _run(self, proposal: Proposal, head: dict[str, Any]) -> Trial:
        recipe, selection, signature = proposal.recipe, self.judging.split.selection, self.original.signature
        is_baseline = recipe.key == self._baseline_proposal.recipe.key
        built = self._build(proposal)
        # The original's process goes on after the trials: what was found is still ranked, confirmed and timed.
        process, opened = self.session(recipe.key, None if is_baseline else self.deadline)
        with process:
            with working():
                raw = process.predict(self.judging.data.path, selection)
                reference = raw if is_baseline else self._raw_baseline()
                parity = self._parity(recipe, built, process, raw, reference)
            if is_baseline and not np.isfinite(raw).all():
                raise TrialError("it gives NaN or infinite outputs on some cases")
            fit = check_labels(self.judging, signature, raw) if is_baseline else ()
            if not parity.passed:
                return Trial(**head, status=Status.FAILED, reason=broken(parity), parity=parity, notes=built.notes)
            scores = self.judging.scores(raw, selection, signature)
            self.store.keep_scores(recipe.key, "selection", scores)
            before = self.judging.scores(reference, selection, signature)
            verdict = judge(self.cases("selection"), before, scores, self.judging.policy, exported=recipe.exact)
            if is_baseline:
                self._baseline, self._baseline_opened = process, opened
            timings = self.time(process, opened)
            if is_baseline:
                self._baseline = None
        proven: Proven = opened["proven"]
        return Trial(
            **head,
            status=Status.OK,
            size_bytes=size_of(self.store.candidate(recipe.key) / MODEL),
            build_s=built.seconds,
            parity=parity,
            precision_proven=proven.precision,
            provider=proven.provider,
            threads=proven.threads,
            timings=timings,
            verdict=verdict,
            notes=built.notes + proven.notes,
            fit=fit,
        )

    def _parity(
        self,
        recipe: Recipe,
        built: Built,
        process: Isolated,
        raw: NDArray[np.float32],
        reference: NDArray[np.float32],
    ) -> Parity:
        """An export is held against what it exports: the original, or the network that techniques made of it."""
        tolerance = tolerance_of(recipe)
        if built.expected is None:
            return compare(raw, reference, tolerance)
        rows = self.workshop.calibration[: len(built.expected)]
        return compare(process.predict(self.judging.data.path, rows), built.expected, tolerance)

    def _build(self, proposal: Proposal) -> Built:
        # Techniques take minutes, and some time what they do: no timing waits for them.
        beside = contextlib.nullcontext() if proposal.recipe.techniques else working()
        timeout = TRAINING_TIMEOUT if proposal.recipe.trains else self.timeout
        deadline = None if proposal is self._baseline_proposal else self.deadline
        with Isolated(timeout, deadline) as process, beside:
            built: Built = process.call(
                "primum.study.build:build_candidate",
                original=self.original,
                recipe=proposal.recipe,
                workshop=self.workshop,
                out=self.store.candidate(proposal.recipe.key),
            )
        return built

    def call(self, function: str) -> Any:
        """What `module:function` of primum says of the original and the workshop, in a process of its own."""
        with Isolated(self.timeout, self.deadline) as process:
            return process.call(function, original=self.original, workshop=self.workshop)

    def time(self, process: Isolated, opened: dict[str, Any]) -> Timings:
        """Time a loaded candidate beside the baseline, interleaved, on cases as they come."""
        baseline, _ = self._baseline_process()
        rows = self.timed_rows()
        sessions = {"candidate": process} if process is baseline else {"baseline": baseline, "candidate": process}
        taken = interleave(sessions, self.judging.data.path, rows, TIMED_ROUNDS, self.seed)
        return summarize(taken["candidate"], taken.get("baseline", taken["candidate"]), opened, process, baseline)

    def timed_rows(self) -> NDArray[np.int64]:
        """Selection cases in a fixed random order: deferrals must come as often as they do."""
        return np.random.default_rng(self.seed).permutation(self.judging.split.selection)

    def _baseline_process(self) -> tuple[Isolated, dict[str, Any]]:
        if self._baseline is None:
            process, self._baseline_opened = self.session(self._baseline_proposal.recipe.key)
            self._baseline = self._open.enter_context(process)
        return self._baseline, self._baseline_opened

    def _raw_baseline(self) -> NDArray[np.float32]:
        rows = self.judging.split.selection
        if self._raw is None:
            self._raw = self._baseline_process()[0].predict(self.judging.data.path, rows)
        return self._raw

    def scores(self, key: str, part: str) -> NDArray[np.float64]:
        """What a candidate gives on a part, as the gate takes it; run once, then kept."""
        rows = self.judging.split.parts()[part]
        known = self.store.scores(key, part)
        if known is None:
            process, _ = self.session(key)
            with process:
                raw = process.predict(self.judging.data.path, rows)
            known = self.judging.scores(raw, rows, self.original.signature)
            self.store.keep_scores(key, part, known)
        return known

    def _factory_for(self, key: str) -> Any:
        held = (self.store.candidate(key) / part / "weights.safetensors" for part in (MODEL, REFERENCE))
        return self.original.factory if any(path.is_file() for path in held) else None

    def _example(self) -> NDArray[np.float32]:
        return np.asarray(self.judging.data.inputs[self.judging.split.calibration[:1]], dtype=np.float32)


def _exact(trial: Trial) -> bool:
    return trial.guard is None and recipe_of(trial).exact
