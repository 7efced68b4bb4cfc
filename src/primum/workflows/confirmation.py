"""Step 6 of the main job: declare, open the locked part, choose. Nothing here is undone by running again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from primum.config import OptimizationConfig
from primum.data.ledger import Ledger
from primum.progress import Progress
from primum.study.claim import Confirmation
from primum.study.guard import GUARDED
from primum.study.judging import judgement_digest
from primum.study.objective import Objective, objective_of
from primum.study.runner import Runner
from primum.study.select import Declared, bar, best_lossless, decisive, declare, gains, worth_confirming
from primum.study.store import Store
from primum.study.trial import Status, Trial, verdict_to_data
from primum.validation.planning import predict_confirmation
from primum.validation.verdict import Outcome, Verdict
from primum.workflows.looks import record_search, say_prior, uncomparable
from primum.workflows.prepare import Prepared

SLOWER = "it is slower than the original: no lossless form that could be delivered in its place is as fast"


@dataclass(frozen=True)
class Choice:
    """What is delivered, the verdict that decided (of `recipe`, which may be another than the winner's), and why."""

    winner: Trial
    verdict: Verdict
    recipe: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Opened:
    """What the openings for one sequence showed, and earlier openings of these cases that were not its own."""

    confirmations: tuple[Confirmation, ...] = ()
    prior: tuple[str, ...] = ()
    uncomparable: tuple[str, ...] = ()
    """What the ledger cannot say: openings of an older release, as sentences."""


def declare_once(
    store: Store, prepared: Prepared, eligible: Mapping[str, Sequence[Trial]], objective: Objective
) -> dict[str, Declared]:
    """Fix the sequence of every claim (name -> what may be delivered for it), on disk, before the set is opened for
    any; once it was opened, what was declared stands.
    """
    parts = {p.name: p for p in prepared.data.parts}
    ratio = parts["confirmation"].patients / max(parts["selection"].patients, 1)
    claims: dict[str, dict[str, Any]] = {}
    for name, trials in eligible.items():
        likely = worth_confirming(trials, objective)
        promise = {t.key: predict_confirmation(t.verdict, ratio) for t in likely if t.verdict}
        declared = declare(trials, promise, objective, {t.key: bar(t, ratio) for t in likely})
        claims[name] = {"keys": list(declared.keys), "reason": declared.reason, "promise": promise}
    known = store.record("declared")
    if known is None or not (_sequences(known["claims"]) == _sequences(claims) or store.record("confirmation")):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        known = {"claims": claims, "when": now}
        store.keep("declared", known)
    return {name: Declared(tuple(held["keys"]), held["reason"]) for name, held in known["claims"].items()}


def confirm(
    runner: Runner, store: Store, trials: Sequence[Trial], declared: Mapping[str, Declared], progress: Progress
) -> dict[str, Opened]:
    """Open the set for each declared candidate in turn, the ledger first, one claim after the other; of each sequence
    stop at the first that does not pass.
    """
    by_key = {t.key: t for t in trials}
    judgement = judgement_digest(runner.judging.data, runner.judging.split.confirmation)
    frozen = {key: _frozen(runner, by_key[key], judgement) for sequence in declared.values() for key in sequence.keys}
    if frozen:
        progress.stage("Confirmation on the locked part", len(frozen))
    opening = _Openings(runner, store, frozen)
    found: dict[str, Opened] = {}
    done = 0
    for name, sequence in declared.items():
        confirmations: list[Confirmation] = []
        for key in sequence.keys:
            confirmations.append(opening.open(by_key[key]))
            outcome = confirmations[-1].verdict.outcome
            done += 1
            progress.advance(done)
            progress.say(f"confirmation: {by_key[key].recipe}: {outcome.value}")
            if outcome is not Outcome.NON_INFERIOR:
                break
        found[name] = Opened(tuple(confirmations), opening.take_prior(), uncomparable(Ledger().uncomparable()))
    return found


class _Openings:
    """Opens the set for one candidate at a time; openings for other candidates of this study count as its own."""

    def __init__(self, runner: Runner, store: Store, frozen: Mapping[str, str]) -> None:
        data = runner.judging.data
        self._runner, self._store, self._frozen = runner, store, frozen
        self._cases = [data.digests[row] for row in runner.judging.split.confirmation]
        self._ledger, self._kept = Ledger(), store.record("confirmation") or {}
        self._prior: dict[str, None] = {}
        # Patients with equal inputs may lie in both parts: this study's own search is no earlier look.
        self._search = record_search(data, runner.judging.split, runner.original.digest).hash

    def open(self, trial: Trial) -> Confirmation:
        """Judge `trial` on the set, after the ledger has recorded that."""
        mine, key = self._frozen[trial.key], trial.key
        for before, share in self._ledger.prior(self._cases, mine):
            if before.candidate not in self._frozen.values() and before.hash != self._search:
                self._prior[say_prior(before, share, "confirmation cases")] = None
        opening = self._ledger.record(self._cases, mine)
        # Judged anew from the scores even where it was before: a record that somebody edited decides nothing.
        verdict = self._runner.confirm(trial)
        if key not in self._kept:
            self._kept[key] = verdict_to_data(verdict)
            self._store.keep("confirmation", self._kept)
        return Confirmation(key, trial.recipe, verdict, opening.when, opening.candidate, opening.hash)

    def take_prior(self) -> tuple[str, ...]:
        """Earlier openings met since the last call, as sentences."""
        met, self._prior = tuple(self._prior), {}
        return met


def choose(
    trials: Sequence[Trial], declared: Declared, confirmations: Sequence[Confirmation], config: OptimizationConfig
) -> Choice | None:
    """The last candidate that passed; or the best lossless one, with the verdict that kept others out; None where
    there is neither.

    With `accept_inconclusive` an INCONCLUSIVE candidate wins instead, and its reasons begin with UNPROVEN.
    """
    by_key, objective = {t.key: t for t in trials}, objective_of(config.objective)
    passed = [c for c in confirmations if c.verdict.outcome is Outcome.NON_INFERIOR]
    if passed:
        last = passed[-1]
        return Choice(by_key[last.key], last.verdict, last.recipe, last.verdict.reasons)
    fallback = best_lossless(trials, objective)
    best = by_key[confirmations[0].key] if confirmations else decisive(trials, objective)
    verdict = confirmations[0].verdict if confirmations else best.verdict if best is not None else None
    if not worth_confirming(trials, objective) and best is not None and not gains(best, fallback, objective):
        best = None
    slow = () if fallback is None or objective.fast_enough(fallback) else (SLOWER,)
    if best is None or verdict is None:
        own = fallback.verdict if fallback is not None else None
        return Choice(fallback, own, fallback.recipe, (*slow, declared.reason)) if fallback and own else None
    if verdict.outcome is Outcome.INCONCLUSIVE and config.accept_inconclusive:
        reasons = ("UNPROVEN: accepted with --accept-inconclusive", *verdict.reasons)
        return Choice(best, verdict, best.recipe, reasons)
    if fallback is None:
        return None
    why = f"{best.recipe} was not accepted ({verdict.outcome.value}); the original is delivered in {fallback.recipe}"
    closed = () if confirmations else (declared.reason,)
    return Choice(fallback, verdict, best.recipe, (*slow, why, *closed, *verdict.reasons))


def refused_unguarded(choice: Choice, trials: Sequence[Trial], objective: Objective) -> Choice:
    """`choice`, or, where no candidate was in play because none could be guarded, the best of those and why."""
    by_key = {t.key: t for t in trials}
    failed = [t for t in trials if t.status is Status.FAILED and t.key.endswith(GUARDED)]
    if not failed or not choice.winner.lossless or choice.recipe != choice.winner.recipe:
        return choice
    refused = {t.key.removesuffix(GUARDED): t for t in failed}
    alone = objective.best([by_key[key] for key in refused])
    if alone is None or alone.verdict is None:
        return choice
    first = refused[alone.key]
    why = f"{alone.recipe} was not delivered without its guard, which could not be made: {first.reason}"
    return Choice(choice.winner, alone.verdict, alone.recipe, (why, *alone.verdict.reasons))


def harmed(trials: Sequence[Trial], confirmations: Sequence[Confirmation]) -> tuple[tuple[str, Verdict], ...]:
    """(recipe, verdict) of the candidates shown to be worse, on selection or on confirmation."""
    judged = [(t.recipe, t.verdict) for t in trials if t.verdict is not None]
    judged += [(c.recipe, c.verdict) for c in confirmations]
    return tuple((recipe, verdict) for recipe, verdict in judged if verdict.outcome is Outcome.INFERIOR)


def _sequences(claims: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The keys of every claim, in order."""
    return {name: list(held["keys"]) for name, held in claims.items()}


def _frozen(runner: Runner, trial: Trial, judgement: str) -> str:
    """Digest of a frozen candidate: what was done to which model under which policy and preprocessing, and by which
    labels, groups and patients it is judged."""
    parts = [
        runner.original.digest,
        json.dumps(trial.recipe_data, sort_keys=True),
        runner.original.preprocessing.model_dump_json(),
        runner.judging.policy.model_dump_json(),
        judgement,
        *([f"band {trial.guard.band.value}"] if trial.guard else []),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
