"""The choice among trials: the Pareto front, and the sequence declared before the confirmation set is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from primum.study.trial import Trial
from primum.validation.verdict import Basis, Outcome

LIKELY = 0.5
"""A candidate joins the sequence if it is at least as likely as not to be confirmed."""
POSSIBLE = 0.05
"""Below this the confirmation set stays closed: it could not decide."""
LONGEST = 3
_GAIN = 1.02
"""A lossy candidate must be at least this much faster than the best lossless one to be worth any risk."""
_ORDER = {Outcome.NON_INFERIOR: 0, Outcome.INCONCLUSIVE: 1, Outcome.NOT_ASSESSED: 2, Outcome.INFERIOR: 3}


@dataclass(frozen=True)
class Declared:
    """Keys in the fixed order in which they will be confirmed, conservative first, and the reason for the choice."""

    keys: tuple[str, ...]
    reason: str


def pareto(trials: Sequence[Trial]) -> frozenset[str]:
    """Keys of the trials that no other beats in speed, size and verdict together."""
    done = [t for t in trials if t.ok]

    def beats(a: Trial, b: Trial) -> bool:
        ours, theirs = _merits(a), _merits(b)
        return all(x <= y for x, y in zip(ours, theirs)) and ours != theirs

    return frozenset(t.key for t in done if not any(beats(other, t) for other in done))


def best_lossless(trials: Sequence[Trial]) -> Trial | None:
    """The fastest lossless trial, one that loads without the user's code if there is any."""
    lossless = [t for t in trials if t.ok and t.lossless]
    return max(lossless, key=lambda t: (t.self_contained, t.speed), default=None)


def gains(trial: Trial, floor: Trial | None) -> bool:
    """Whether a lossy trial is enough faster than the best lossless one to be worth any risk."""
    return trial.speed > (floor.speed * _GAIN if floor is not None else 0.0)


def worth_confirming(trials: Sequence[Trial]) -> list[Trial]:
    """Lossy trials that were not found harmful and are faster than the best lossless one."""
    floor = best_lossless(trials)
    good = (Outcome.NON_INFERIOR, Outcome.INCONCLUSIVE)
    return [t for t in trials if t.ok and not t.lossless and t.outcome in good and gains(t, floor)]


def declare(trials: Sequence[Trial], promise: Mapping[str, float]) -> Declared:
    """The fixed sequence: from the most to the least likely to be confirmed, each faster than the one before.

    `promise` is the probability of confirmation by key, foretold from the selection cases.
    """
    eligible = worth_confirming(trials)
    if not eligible:
        return Declared((), "no lossy candidate is faster than the best lossless one and free of harm so far")
    likely = [t for t in eligible if promise[t.key] >= LIKELY]
    if not likely:
        best = max(eligible, key=lambda t: (promise[t.key], t.speed))
        if promise[best.key] < POSSIBLE:
            return Declared((), "the confirmation set is too small to decide on any candidate: it stays closed")
        return Declared((best.key,), f"the most promising candidate, with a chance of {promise[best.key]:.0%}")
    chain: list[Trial] = []
    for trial in sorted(likely, key=lambda t: (-promise[t.key], -t.speed)):
        if not chain or trial.speed > chain[-1].speed:
            chain.append(trial)
    chain = [t for i, t in enumerate(chain) if all(promise[f.key] < promise[t.key] - 0.02 for f in chain[i + 1 :])]
    if len(chain) > LONGEST:
        chain = [chain[0], *chain[1 - LONGEST :]]
    return Declared(tuple(t.key for t in chain), "faster in every step, from conservative to aggressive")


def decisive(trials: Sequence[Trial]) -> Trial | None:
    """The fastest lossy candidate that could have won: whose verdict explains why nothing did."""
    eligible = worth_confirming(trials)
    harmed = [t for t in trials if t.ok and not t.lossless]
    return max(eligible or harmed, key=lambda t: t.speed, default=None)


def _merits(trial: Trial) -> tuple[float, float, float]:
    verdict = trial.verdict
    rank = _ORDER[trial.outcome] - (0.5 if verdict is not None and verdict.basis is Basis.NUMERIC else 0.0)
    return -trial.speed, trial.size_bytes, rank
