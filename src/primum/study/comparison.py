"""Techniques beside one another, as measured on this model: alone, composed, against the product of the parts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan

from primum.benchmark.timing import Timings
from primum.runtimes.base import Target
from primum.study.trial import Trial
from primum.techniques.registry import names_that_train
from primum.validation.verdict import Outcome


@dataclass(frozen=True)
class Compared:
    """One trial as a comparison shows it. Speed and size are ratios to the original (above 1: faster, smaller)."""

    recipe: str
    kinds: tuple[str, ...]
    """What it is made of: names of techniques, then the target's precision where it is not FP32."""
    runtime: str
    speed: float
    size_ratio: float
    change: tuple[str, float, float]
    """The deciding endpoint with the least room to its margin: name, difference and its lower bound; negative is
    worse."""
    flips: int
    """Decisions changed on the selection cases."""
    outcome: Outcome
    minutes: float
    """Building, training included."""
    trains: bool
    key: str


@dataclass(frozen=True)
class Composition:
    """A recipe of several stages against what its parts gain alone."""

    recipe: str
    measured: float
    product: float
    """Of the parts' speed-ups, each over the best lossless runtime; NaN where a part was not tried alone."""


@dataclass(frozen=True)
class Repeats:
    """A training with several seeds."""

    recipe: str
    seeds: tuple[int, ...]
    outcomes: tuple[Outcome, ...]
    flips: tuple[int, ...]
    speeds: tuple[float, ...]
    failed: int


def compared(baseline: Trial, trials: Sequence[Trial], final: dict[str, Timings]) -> tuple[Compared, ...]:
    """Every trial that ran, original first, then by speed; the finalists with the figures of the last run."""
    done = [t for t in trials if t.ok and t.guard is None and not _seed(t) and t.key != baseline.key]
    rows = [_row(t, baseline, final) for t in done]
    return (_row(baseline, baseline, final), *sorted(rows, key=lambda r: (len(r.kinds), r.speed)))


def composition(baseline: Trial, trials: Sequence[Trial], winner: Trial) -> Composition | None:
    """The winner against the product of its parts; None where it is of one part, or its runtime was not tried alone."""
    speeds = {_parts(t): t.speed for t in (baseline, *trials) if t.ok and t.guard is None}
    techniques, target, seed = _parts(winner)
    if techniques == "[]" or target is None or target.precision == "fp32":
        return None
    floor = ("[]", Target(runtime=target.runtime, threads=target.threads, spinning=target.spinning), 0)
    if floor not in speeds:
        return None
    parts = [(techniques, floor[1], seed), ("[]", target, 0)]
    gains = [speeds.get(part, nan) / speeds[floor] for part in parts]
    return Composition(winner.recipe, winner.speed, speeds[floor] * gains[0] * gains[1])


def repeated(trials: Sequence[Trial]) -> tuple[Repeats, ...]:
    """Trainings that were tried with more than one seed, first seed first."""
    families: dict[tuple[str, Target | None], list[Trial]] = {}
    for trial in trials:
        techniques, target, _ = _parts(trial)
        if trial.guard is None:
            families.setdefault((techniques, target), []).append(trial)
    found = []
    for family in families.values():
        ran = sorted((t for t in family if t.ok), key=_seed)
        if len({_seed(t) for t in family}) < 2:
            continue
        found.append(
            Repeats(
                min(family, key=_seed).recipe,
                tuple(_seed(t) for t in ran),
                tuple(t.outcome for t in ran),
                tuple(t.verdict.agreement.flips for t in ran if t.verdict is not None),
                tuple(t.speed for t in ran),
                len(family) - len(ran),
            )
        )
    return tuple(found)


def _seed(trial: Trial) -> int:
    return int(trial.recipe_data.get("seed", 0))


def _parts(trial: Trial) -> tuple[str, Target | None, int]:
    """Techniques, as text that compares, target and seed."""
    data = trial.recipe_data
    target = Target.model_validate(data["target"]) if data.get("target") else None
    return json.dumps(data.get("techniques", []), sort_keys=True), target, _seed(trial)


def _row(trial: Trial, baseline: Trial, final: dict[str, Timings]) -> Compared:
    kinds = tuple(next(iter(t)) for t in trial.recipe_data.get("techniques", ()))
    target = trial.recipe_data.get("target", {})
    precision = str(target.get("precision", "fp32"))
    timed = final.get(trial.key)
    return Compared(
        recipe=trial.recipe,
        kinds=kinds + ((precision,) if precision != "fp32" else ()),
        runtime=str(target.get("runtime", "")),
        speed=timed.ratio if timed is not None else trial.speed,
        size_ratio=baseline.size_bytes / max(trial.size_bytes, 1),
        change=_change(trial),
        flips=trial.verdict.agreement.flips if trial.verdict is not None else 0,
        outcome=trial.outcome,
        minutes=trial.build_s / 60,
        trains=bool(names_that_train().intersection(kinds)),
        key=trial.key,
    )


def _change(trial: Trial) -> tuple[str, float, float]:
    """The component whose bound lies nearest to (or farthest beyond) its margin."""
    held = trial.verdict.components if trial.verdict is not None else ()
    judged = [c for c in held if not isnan(c.lower) and c.margin > 0]
    if not judged:
        return ("", 0.0, 0.0) if trial.lossless else ("", nan, nan)
    worst = min(judged, key=lambda c: (c.lower + c.margin) / c.margin)
    return worst.name, worst.difference, worst.lower
