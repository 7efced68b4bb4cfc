"""Dice and the error of values at their margin: a few patients lose much, and what was not drawn is not seen."""

from __future__ import annotations

from itertools import product

import numpy as np

from primum.config import ClinicalPolicy, Margins
from primum.validation.means import skewed_mean_interval
from primum.validation.scores import judge_gain, judge_loss
from primum.validation.verdict import Outcome
from simulation.cell import Cell, Result, share

DICE, RANGE = 0.9, 60.0
"""Dice of the reference, all of which may be lost; and the range of the labels of an error whose margin is 1."""


def rare_loss(
    rng: np.random.Generator,
    runs: int,
    *,
    endpoint: str,
    patients: int,
    each: int,
    losing: float,
    margin: float,
    noise: float,
) -> Result:
    """Type I error: a share `losing` of patients loses as much, in all their cases, as puts the mean at the margin.

    Beside it what t alone would pass, and the power where no patient loses (a twentieth of the runs).
    """
    worst = DICE if endpoint == "dice" else RANGE
    size = margin / losing
    if size > worst:
        raise ValueError(f"{losing} of the patients cannot lose {margin} on average")
    hits, by_t = 0, 0
    for _ in range(runs):
        lost = rng.random(patients) < losing
        passed, alone = _judged(rng, endpoint, np.repeat(lost * size, each), each, margin, noise, worst)
        hits, by_t = hits + passed, by_t + alone
    few = max(1, runs // 20)
    none = np.zeros(patients * each)
    strong = sum(_judged(rng, endpoint, none, each, margin, noise, worst)[0] for _ in range(few))
    return share(hits, runs, t_alone=f"{by_t / runs:.3f}", power=f"{strong / few:.3f}")


def _judged(
    rng: np.random.Generator, endpoint: str, lost: np.ndarray, each: int, margin: float, noise: float, worst: float
) -> tuple[bool, bool]:
    """Whether primum's endpoint passes, and whether t alone does."""
    units = np.repeat(np.arange(lost.size // each), each)
    before = np.full(lost.size, worst if endpoint == "dice" else 5.0)
    gains = rng.normal(0, noise, lost.size) - lost
    policy = ClinicalPolicy(margins=Margins(**{endpoint: margin}))
    if endpoint == "dice":
        part = judge_gain("dice", before, before + gains, units, policy, worst)
    else:
        part = judge_loss("error", before, before - gains, units, policy, worst)
    return part.outcome is Outcome.NON_INFERIOR, skewed_mean_interval(gains, 0.95, units).lower > -margin


def cells() -> list[Cell]:
    """The grid."""
    settings = [("dice", 0.02, 0.002), ("dice", 0.05, 0.02), ("error", 1.0, 0.3)]
    found = []
    for (endpoint, margin, noise), (patients, each), losing in product(
        settings, ((30, 1), (60, 1), (100, 1), (250, 1), (600, 1), (60, 4)), (0.025, 0.05, 0.1, 0.3)
    ):
        if margin / losing > (DICE if endpoint == "dice" else RANGE):
            continue
        setting = {"endpoint": endpoint, "patients": patients, "each": each, "losing": losing, "margin": margin}
        found.append(Cell("means", rare_loss, setting | {"noise": noise}, 0.03))
    return found
