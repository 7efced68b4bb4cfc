"""The choice among trials: the Pareto front, and the sequence declared before the confirmation set is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from primum.study.objective import LATENCY, Objective
from primum.study.trial import Trial
from primum.validation.planning import predict_unchanged
from primum.validation.verdict import Basis, Outcome

LIKELY = 0.5
"""A candidate joins the sequence if it is at least as likely as not to be confirmed."""
_SAME = 1e-9
POSSIBLE = 0.05
"""Below this the confirmation set stays closed: it could not decide."""
LONGEST = 3
_GAIN = 1.02
"""A lossy candidate must have at least this much more merit than the best lossless one to be worth any risk."""
_BOLDER = 1.2
"""So much more merit than the last likely candidate must one have that follows it on a smaller chance."""
_AS_LIKELY = 0.02
"""Chances of confirmation within this count as the same."""
_ORDER = {Outcome.NON_INFERIOR: 0, Outcome.INCONCLUSIVE: 1, Outcome.NOT_ASSESSED: 2, Outcome.INFERIOR: 3}


@dataclass(frozen=True)
class Declared:
    """Keys in the fixed order in which they will be confirmed, conservative first, and the reason for the choice."""

    keys: tuple[str, ...]
    reason: str


def of_runtime(trials: Sequence[Trial], name: str) -> list[Trial]:
    """The trials that run in the runtime `name`; all of them where it is empty."""
    return [t for t in trials if name in ("", t.runtime)]


def pareto(trials: Sequence[Trial]) -> frozenset[str]:
    """Keys of the trials that no other beats in speed, size and verdict together."""
    done = [t for t in trials if t.ok]

    def beats(a: Trial, b: Trial) -> bool:
        ours, theirs = _merits(a), _merits(b)
        return all(x <= y for x, y in zip(ours, theirs)) and ours != theirs

    return frozenset(t.key for t in done if not any(beats(other, t) for other in done))


def best_lossless(trials: Sequence[Trial], objective: Objective = LATENCY) -> Trial | None:
    """The best lossless trial, one that loads without the user's code if there is any, and of these one that is fast
    enough if there is any.
    """
    lossless = [t for t in trials if t.ok and t.lossless]
    ranks = [(t.self_contained, objective.fast_enough(t)) for t in lossless]
    return objective.best([t for t, rank in zip(lossless, ranks) if rank == max(ranks)])


def gains(trial: Trial, floor: Trial | None, objective: Objective = LATENCY) -> bool:
    """Whether a lossy trial is enough better than the best lossless one to be worth any risk."""
    least = objective.merit(floor) * _GAIN if floor is not None else 0.0
    return objective.fast_enough(trial) and objective.merit(trial) > least


def worth_confirming(trials: Sequence[Trial], objective: Objective = LATENCY) -> list[Trial]:
    """Lossy trials that were not found harmful and are better than the best lossless one."""
    floor = best_lossless(trials, objective)
    good = (Outcome.NON_INFERIOR, Outcome.INCONCLUSIVE)
    return [t for t in trials if t.ok and not t.lossless and t.outcome in good and gains(t, floor, objective)]


def bar(trial: Trial, ratio: float) -> float:
    """The chance of confirmation, on `ratio` times as many patients, from which a trial is likely: an even one, or that
    of a candidate that changes no decision, where the patients are too few to promise more of any.
    """
    return LIKELY if trial.verdict is None else min(LIKELY, predict_unchanged(trial.verdict, ratio) - _SAME)


def declare(
    trials: Sequence[Trial],
    promise: Mapping[str, float],
    objective: Objective = LATENCY,
    bars: Mapping[str, float] | None = None,
) -> Declared:
    """The fixed sequence: from the most to the least likely to be confirmed, each better than the one before.

    `promise` is the probability of confirmation by key, foretold from the selection cases, `bars` the one from which it
    is likely (default: an even one).
    """
    eligible = worth_confirming(trials, objective)
    if not eligible:
        return Declared((), _nothing(trials, objective))
    likely = [t for t in eligible if promise[t.key] >= (bars or {}).get(t.key, LIKELY)]
    likely = [t for t in likely if promise[t.key] >= POSSIBLE]
    if not likely:
        best = max(eligible, key=lambda t: (promise[t.key], objective.merit(t)))
        if promise[best.key] < POSSIBLE:
            return Declared((), "the confirmation set is too small to decide on any candidate: it stays closed")
        return Declared((best.key,), f"the most promising candidate, with a chance of {promise[best.key]:.0%}")
    chain = _chain(likely, promise, objective)
    if len(chain) > LONGEST:
        chain = [chain[0], *chain[1 - LONGEST :]]
    reason = f"{objective.better} in every step, from conservative to aggressive"
    bold = _bold(eligible, chain[-1], promise, objective)
    if bold is None:
        return Declared(tuple(t.key for t in chain), reason)
    last = f"; the last has a chance of {promise[bold.key]:.0%}, and those before it stand where it fails"
    return Declared((*(t.key for t in chain), bold.key), reason + last)


def _bold(eligible: Sequence[Trial], last: Trial, promise: Mapping[str, float], objective: Objective) -> Trial | None:
    """A much better candidate that may be tried after the likely ones: in a fixed sequence it costs them nothing."""
    merit = objective.merit
    bolder = [t for t in eligible if promise[t.key] >= POSSIBLE and merit(t) > _BOLDER * merit(last)]
    return max(bolder, key=lambda t: promise[t.key] * merit(t), default=None)


def decisive(trials: Sequence[Trial], objective: Objective = LATENCY) -> Trial | None:
    """The best lossy candidate that could have won: whose verdict explains why nothing did."""
    eligible = worth_confirming(trials, objective)
    harmed = [t for t in trials if t.ok and not t.lossless]
    return objective.best(eligible or harmed)


def _chain(likely: Sequence[Trial], promise: Mapping[str, float], objective: Objective) -> list[Trial]:
    merit = objective.merit

    def preferred(other: Trial, trial: Trial) -> bool:
        """As likely, as good, and faster."""
        likely = promise[other.key] >= promise[trial.key] - _AS_LIKELY
        return likely and merit(other) * objective.alike >= merit(trial) and other.speed > trial.speed

    kept = [t for t in likely if not any(preferred(other, t) for other in likely)]
    chain: list[Trial] = []
    for trial in sorted(kept, key=lambda t: (-promise[t.key], -merit(t))):
        if not chain or merit(trial) > merit(chain[-1]):
            chain.append(trial)
    return [t for i, t in enumerate(chain) if all(promise[f.key] < promise[t.key] - _AS_LIKELY for f in chain[i + 1 :])]


def _nothing(trials: Sequence[Trial], objective: Objective) -> str:
    """Why no lossy candidate may be declared."""
    said = f"no lossy candidate is {objective.better} than the best lossless one and free of harm so far"
    slow = [t for t in trials if t.ok and not t.lossless and not objective.fast_enough(t)]
    carried = [t for t in trials if t.guard is not None and t.guard.reference_bytes]
    if objective.least_speed and slow:
        said += f"; {len(slow)} slower than the original do not count"
    if objective.name == "size" and carried:
        said += "; a guarded one carries the original, and so is larger than it"
    return said


def _merits(trial: Trial) -> tuple[float, float, float]:
    verdict = trial.verdict
    rank = _ORDER[trial.outcome] - (0.5 if verdict is not None and verdict.basis is Basis.NUMERIC else 0.0)
    return -trial.speed, trial.size_bytes, rank
