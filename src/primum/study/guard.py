"""Guarded candidates: a fast model and the band that makes it defer to the original, built, judged, timed as one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from primum.artifact.manifest import Guard, read_manifest, write_manifest
from primum.benchmark.timing import Timings
from primum.config import GuardPolicy
from primum.errors import TrialError
from primum.files import folder, size_of
from primum.runtimes.load import MODEL, REFERENCE
from primum.study.claim import GuardPoint, GuardResult
from primum.study.guard_choice import guarded_speed
from primum.study.objective import LATENCY, Objective
from primum.study.runner import Runner
from primum.study.select import gains
from primum.study.trial import Guarded, Status, Trial
from primum.validation.conformal import Band, fit_band
from primum.validation.decisions import Rule
from primum.validation.gate import judge
from primum.validation.guard_curve import assess_guard, guard_curve
from primum.validation.leads import defers

GUARDED = "-guarded"
"""What the key of a guarded form ends with."""


def guardable(trials: list[Trial], lossless: Trial, objective: Objective = LATENCY) -> list[Trial]:
    """The lossy trials that a guard could make deliverable: better than the original in its best lossless runtime."""
    return [t for t in trials if t.ok and not t.lossless and t.guard is None and gains(t, lossless, objective)]


def in_play(trials: list[Trial], policy: GuardPolicy | None) -> list[Trial]:
    """The trials that may be delivered: with a policy of guarding, lossy ones only in their guarded form."""
    return [t for t in trials if policy is None or not t.ok or t.lossless or t.guard is not None]


def guard_trial(
    runner: Runner, trial: Trial, lossless: Trial, policy: GuardPolicy, opening: Callable[[], None]
) -> Trial:
    """The guarded form of `trial`, with the original in `lossless`'s runtime: an earlier record of it, or a new one.

    The band is set on the guard part alone; the verdict is on the selection part, as of every trial. `opening` is
    called before the candidate's answers on the guard part are looked at. FAILED, with the number of patients needed,
    where the guard part is too small for the policy: then it stays closed.
    """
    key = trial.key + GUARDED
    known = runner.known(key)
    if known is None:
        known = _attempt(runner, trial, lossless, policy, key, opening)
        runner.store.save(known)
    elif known.guard is not None:
        opening()
    return known


def _attempt(
    runner: Runner, trial: Trial, lossless: Trial, policy: GuardPolicy, key: str, opening: Callable[[], None]
) -> Trial:
    head = replace(
        trial,
        key=key,
        recipe=f"{trial.recipe} guarded",
        why="the original answers near the decision boundary",
        self_contained=trial.self_contained and lossless.self_contained,
    )
    try:
        band = _set_band(runner, trial, policy, opening)
        return _run(runner, trial, lossless, band, head)
    except TrialError as error:
        return replace(head, status=Status.FAILED, reason=str(error), timings=None, verdict=None, parity=None)


def _set_band(runner: Runner, trial: Trial, policy: GuardPolicy, opening: Callable[[], None]) -> Band:
    """The band of the guard part; TrialError where there is none."""
    rule = runner.rule
    if rule is None:
        raise TrialError("a model that gives values, not decisions, cannot be guarded")
    cases = runner.cases("guard")
    if not len(cases):
        raise TrialError("the guard part holds no patient")
    reference = runner.scores(runner.baseline_key, "guard")
    # Whether there are patients enough is for the original's decisions to say: no look at the candidate is spent on it.
    counted = fit_band(rule, cases.classes, reference, reference, cases.units, policy)
    if counted.value is None:
        raise TrialError(f"no band: {counted.reason}")
    opening()
    return fit_band(rule, cases.classes, runner.scores(trial.key, "guard"), reference, cases.units, policy)


def _run(runner: Runner, trial: Trial, lossless: Trial, band: Band, head: Trial) -> Trial:
    judging, rule = runner.judging, runner.rule
    assert rule is not None
    share = _share(runner, trial, rule, band)
    held = size_of(runner.store.candidate(lossless.key) / MODEL) if band.active else 0
    guard = Guarded(trial.key, lossless.key, band, share, held, guarded_speed(trial, lossless, share))
    _build(runner, trial, lossless, guard, head.key)
    process, opened = runner.session(head.key)
    with process:
        rows = judging.split.selection
        raw = process.predict(judging.data.path, rows)
        scores = judging.scores(raw, rows, runner.original.signature)
        runner.store.keep_scores(head.key, "selection", scores)
        before = runner.scores(runner.baseline_key, "selection")
        verdict = judge(runner.cases("selection"), before, scores, judging.policy)
        timings = runner.time(process, opened)
    size = size_of(runner.store.candidate(head.key) / MODEL)
    notes = (*trial.notes, _say(band, share))
    return replace(head, size_bytes=size, timings=timings, verdict=verdict, notes=notes, guard=guard)


def _say(band: Band, share: float) -> str:
    if not band.active:
        return band.note
    return f"{share:.1%} of selection cases deferred to the original"


def _share(runner: Runner, trial: Trial, rule: Rule, band: Band) -> float:
    if not band.active or band.value is None:
        return 0.0
    return float(np.mean(defers(rule, runner.scores(trial.key, "selection"), band.value)))


def _build(runner: Runner, trial: Trial, lossless: Trial, guard: Guarded, key: str) -> None:
    """A candidate folder that holds both models, whole or not at all."""
    fast, reference = (runner.store.candidate(k) for k in (trial.key, lossless.key))
    manifest = read_manifest(fast)
    changes: dict[str, Any] = {"recipe": f"{manifest.recipe} guarded", "files": {}}
    with folder(runner.store.candidate(key)) as place:
        shutil.copytree(fast / MODEL, place / MODEL)
        if guard.band.active:
            shutil.copytree(reference / MODEL, place / REFERENCE)
            changes["guard"] = _record(guard, read_manifest(reference).target)
        write_manifest(place, manifest.model_copy(update=changes))


def _record(guard: Guarded, target: dict[str, Any]) -> Guard:
    band = guard.band
    assert band.value is not None
    return Guard(
        band=band.value,
        epsilon=band.epsilon,
        delta=band.delta,
        by_class=band.by_class,
        strict=band.strict,
        patients=band.n_patients,
        deferred=guard.deferred,
        reference=target,
    )


EPSILONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)


def guard_result(runner: Runner, winner: Trial, final: Mapping[str, Timings], part: str) -> GuardResult:
    """What the winner's guard does on `part`, and the curve of other choices, all bands set on the guard part."""
    guard, rule = winner.guard, runner.rule
    assert guard is not None and rule is not None
    set_on, fresh = runner.cases("guard"), runner.cases(part)
    fast = {name: runner.scores(guard.of, name) for name in ("guard", part)}
    original = {name: runner.scores(runner.baseline_key, name) for name in ("guard", part)}
    band = guard.band
    epsilons = sorted({*EPSILONS, band.epsilon, band.smallest_epsilon})
    curve = guard_curve(
        rule, fresh.classes, fast["guard"], original["guard"], set_on.units, fast[part], original[part], fresh.units,
        epsilons, GuardPolicy(epsilon=band.epsilon, delta=band.delta, by_class=band.by_class, strict=band.strict),
    )  # fmt: skip
    quick, slow = final[guard.of], final[guard.reference]
    return GuardResult(
        part=part,
        band=band,
        outcome=assess_guard(
            rule,
            fresh.classes,
            fast[part],
            original[part],
            fresh.units,
            band.value if band.active and band.value is not None else -np.inf,
        ),
        curve=tuple(GuardPoint(p, _left(quick, slow, p.deferred)) for p in curve),
        fast=quick,
        reference=slow,
    )


def _left(fast: Timings, reference: Timings, share: float) -> float:
    """The speed-up left when `share` of the cases pay for both; NaN stays NaN."""
    return 1.0 / (1.0 / fast.ratio + share / reference.ratio)
