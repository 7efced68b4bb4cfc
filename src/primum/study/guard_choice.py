"""Which candidate is guarded, chosen before the guard part is opened: by what its guard would do on selection cases.

A band bounds what it leaves only where its candidate was fixed before the guard patients were looked at. Were each
candidate given a band and the fastest of them chosen, the one with the luckiest band would be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from primum.config import GuardPolicy
from primum.files import size_of
from primum.runtimes.load import MODEL
from primum.study.objective import Objective
from primum.study.runner import Runner
from primum.study.select import gains
from primum.study.trial import Guarded, Trial
from primum.validation.gate import judge
from primum.validation.guard_forecast import forecast_band
from primum.validation.leads import defers
from primum.validation.verdict import Outcome


def most_promising(
    candidates: Sequence[Trial],
    lossless: Trial,
    objective: Objective,
    foresee: Callable[[Trial], Trial],
    promise: Callable[[Trial], float],
) -> Trial | None:
    """The candidate from whose guarded form, as foreseen, most is to be gained over the lossless one: what it gains
    times the chance that it is confirmed. None of none."""
    floor = objective.merit(lossless)

    def prospect(candidate: Trial) -> tuple[bool, float, float, float]:
        made = foresee(candidate)
        merit, chance = objective.merit(made), promise(made)
        worth = made.outcome is not Outcome.INFERIOR and gains(made, lossless, objective)
        return worth, chance * max(merit / floor - 1.0, 0.0) if floor else chance, chance, merit

    return max(candidates, key=prospect, default=None)


def foreseen(runner: Runner, trial: Trial, lossless: Trial, policy: GuardPolicy) -> Trial:
    """`trial` as its guarded form would be, from selection cases alone; nothing is built, and no bound is claimed."""
    rule = runner.rule
    if rule is None:
        return trial
    cases, part = runner.cases("selection"), "selection"
    fast, reference = runner.scores(trial.key, part), runner.scores(runner.baseline_key, part)
    band = forecast_band(rule, cases.classes, fast, reference, cases.units, policy)
    asked = np.zeros(len(fast), dtype=np.bool_)
    if band.active and band.value is not None:
        asked = defers(rule, fast, band.value)
    scores = np.where(asked.reshape(-1, *[1] * (fast.ndim - 1)), reference, fast)
    share = float(asked.mean())
    held = size_of(runner.store.candidate(lossless.key) / MODEL) if band.active else 0
    guard = Guarded(trial.key, lossless.key, band, share, held, guarded_speed(trial, lossless, share))
    return replace(trial, verdict=judge(cases, reference, scores, runner.judging.policy), guard=guard)


def guarded_speed(trial: Trial, lossless: Trial, share: float) -> float:
    """Speed-up over the baseline of a model of which a share pays for both."""
    return 1.0 / (1.0 / trial.speed + share / lossless.speed)
