"""Step 6 of the main job: declare, open the locked part, choose. Nothing here is undone by running again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from primum.config import OptimizationConfig
from primum.data.ledger import Ledger
from primum.progress import Progress
from primum.study.guard import GUARDED
from primum.study.result import Confirmation
from primum.study.runner import Runner
from primum.study.select import Declared, best_lossless, decisive, declare, gains, worth_confirming
from primum.study.store import Store
from primum.study.trial import Status, Trial, verdict_to_data
from primum.validation.planning import predict_confirmation
from primum.validation.verdict import Outcome, Verdict
from primum.workflows.prepare import Prepared


@dataclass(frozen=True)
class Choice:
    """What is delivered, the verdict that decided (of `recipe`, which may be another than the winner's), and why."""

    winner: Trial
    verdict: Verdict
    recipe: str
    reasons: tuple[str, ...]


def declare_once(store: Store, prepared: Prepared, trials: Sequence[Trial]) -> Declared:
    """Fix the sequence, on disk, before the set is opened; once it was opened, what was declared stands."""
    parts = {p.name: p for p in prepared.data.parts}
    ratio = parts["confirmation"].patients / max(parts["selection"].patients, 1)
    promise = {t.key: predict_confirmation(t.verdict, ratio) for t in worth_confirming(trials) if t.verdict}
    declared = declare(trials, promise)
    known = store.record("declared")
    if known is not None and (known["keys"] == list(declared.keys) or store.record("confirmation")):
        return Declared(tuple(known["keys"]), known["reason"])
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"keys": list(declared.keys), "reason": declared.reason, "promise": promise, "when": now}
    store.keep("declared", record)
    return declared


def confirm(
    runner: Runner, store: Store, trials: Sequence[Trial], declared: Declared, progress: Progress
) -> tuple[tuple[Confirmation, ...], tuple[str, ...]]:
    """Open the set for each declared candidate in turn, the ledger first; stop at the first that does not pass.

    Returns the confirmations, and earlier openings of these cases for other candidates, as sentences.
    """
    by_key = {t.key: t for t in trials}
    frozen = {key: _frozen(runner, by_key[key]) for key in declared.keys}
    data = runner.judging.data
    cases = [data.digests[row] for row in runner.judging.split.confirmation]
    ledger, kept = Ledger(), store.record("confirmation") or {}
    done: list[Confirmation] = []
    prior: dict[str, None] = {}
    if declared.keys:
        progress.stage("Confirmation on the locked part", len(declared.keys))
    for number, key in enumerate(declared.keys):
        others = [(o, share) for o, share in ledger.prior(cases, frozen[key]) if o.candidate not in frozen.values()]
        prior |= dict.fromkeys(_prior(opening.when, share) for opening, share in others)
        opening = ledger.record(cases, frozen[key])
        # Judged anew from the scores even where it was before: a record that somebody edited decides nothing.
        verdict = runner.confirm(by_key[key])
        if key not in kept:
            kept[key] = verdict_to_data(verdict)
            store.keep("confirmation", kept)
        done.append(Confirmation(key, by_key[key].recipe, verdict, opening.when, opening.candidate, opening.hash))
        progress.advance(number + 1)
        progress.say(f"confirmation: {by_key[key].recipe}: {done[-1].verdict.outcome.value}")
        if done[-1].verdict.outcome is not Outcome.NON_INFERIOR:
            break
    return tuple(done), tuple(prior)


def choose(
    trials: Sequence[Trial], declared: Declared, confirmations: Sequence[Confirmation], config: OptimizationConfig
) -> Choice:
    """The last candidate that passed; or the best lossless one, with the verdict that kept others out.

    With `accept_inconclusive` an INCONCLUSIVE candidate wins instead, and its reasons begin with UNPROVEN.
    """
    by_key = {t.key: t for t in trials}
    passed = [c for c in confirmations if c.verdict.outcome is Outcome.NON_INFERIOR]
    if passed:
        last = passed[-1]
        return Choice(by_key[last.key], last.verdict, last.recipe, last.verdict.reasons)
    fallback = best_lossless(trials)
    assert fallback is not None and fallback.verdict is not None  # the baseline itself is lossless
    best = by_key[confirmations[0].key] if confirmations else decisive(trials)
    verdict = confirmations[0].verdict if confirmations else best.verdict if best is not None else None
    too_slow = not worth_confirming(trials) and best is not None and not gains(best, fallback)
    if best is None or verdict is None or too_slow:
        return Choice(fallback, fallback.verdict, fallback.recipe, (declared.reason,))
    if verdict.outcome is Outcome.INCONCLUSIVE and config.accept_inconclusive:
        reasons = ("UNPROVEN: accepted with --accept-inconclusive", *verdict.reasons)
        return Choice(best, verdict, best.recipe, reasons)
    why = f"{best.recipe} was not accepted ({verdict.outcome.value}); the original is delivered in {fallback.recipe}"
    closed = () if confirmations else (declared.reason,)
    return Choice(fallback, verdict, best.recipe, (why, *closed, *verdict.reasons))


def refused_unguarded(choice: Choice, trials: Sequence[Trial]) -> Choice:
    """`choice`, or, where no candidate was in play because none could be guarded, the fastest of those and why."""
    by_key = {t.key: t for t in trials}
    failed = [t for t in trials if t.status is Status.FAILED and t.key.endswith(GUARDED)]
    if not failed or not choice.winner.lossless or choice.recipe != choice.winner.recipe:
        return choice
    first = max(failed, key=lambda t: by_key[t.key.removesuffix(GUARDED)].speed)
    alone = by_key[first.key.removesuffix(GUARDED)]
    if alone.verdict is None:
        return choice
    why = f"{alone.recipe} was not delivered without its guard, which could not be made: {first.reason}"
    return Choice(choice.winner, alone.verdict, alone.recipe, (why, *alone.verdict.reasons))


def harmed(trials: Sequence[Trial], confirmations: Sequence[Confirmation]) -> tuple[tuple[str, Verdict], ...]:
    """(recipe, verdict) of the candidates shown to be worse, on selection or on confirmation."""
    judged = [(t.recipe, t.verdict) for t in trials if t.verdict is not None]
    judged += [(c.recipe, c.verdict) for c in confirmations]
    return tuple((recipe, verdict) for recipe, verdict in judged if verdict.outcome is Outcome.INFERIOR)


def _frozen(runner: Runner, trial: Trial) -> str:
    """Digest of a frozen candidate: what was done to which model under which policy and preprocessing."""
    parts = [
        runner.original.digest,
        json.dumps(trial.recipe_data, sort_keys=True),
        runner.original.preprocessing.model_dump_json(),
        runner.judging.policy.model_dump_json(),
        *([f"band {trial.guard.band.value}"] if trial.guard else []),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _prior(when: str, share: float) -> str:
    return (
        f"{share:.0%} of these confirmation cases were opened for another candidate on {when}: "
        "this confirmation is not the first look at them"
    )
