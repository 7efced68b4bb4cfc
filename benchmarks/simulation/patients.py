"""AUROC at its margin where patients have several cases, and a few patients are distorted in all of theirs."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from primum.config import ClinicalPolicy, Margins
from primum.validation.auroc import auroc_pair
from primum.validation.auroc_bounds import mover_from_pair, score_interval
from primum.validation.cases import Cases
from primum.validation.gate import judge
from primum.validation.scores import judge_auroc
from primum.validation.verdict import Outcome
from simulation.cell import Cell, Result, share

APART = 2.0
"""Between the means of the reference's normal scores: AUROC 0.921."""
NOISE = 0.02


def area(distorted: float) -> float:
    """AUROC where the scores of so many patients say little: normal about the middle, whatever the class."""
    apart, half = norm.cdf(APART / np.sqrt([2.0, 8.0]))
    return float((1 - distorted) ** 2 * apart + 2 * distorted * (1 - distorted) * half + distorted**2 / 2)


def at_margin(
    rng: np.random.Generator, runs: int, *, patients: int, each: int, distorted: float, correlation: float
) -> Result:
    """Type I error: AUROC lower by exactly the margin, in whole patients; `correlation` of scores within a patient.

    Beside it, by a tenth of the runs, what the MOVER-logit and the score interval with normal quantiles pass, and the
    verdicts of the whole gate (margins of the rates 0.05, of the Brier score 0.1).
    """
    margin = area(0) - area(distorted)
    policy = ClinicalPolicy(margins=Margins(auroc=margin, sensitivity=0.05, specificity=0.05, brier=0.1))
    units = np.repeat(np.arange(patients), each)
    hits, plain, accepted, tenth = 0, 0, 0, max(1, runs // 10)
    for run in range(runs):
        y, reference, candidate = _scores(rng, units, patients, distorted, correlation)
        if y.min() == y.max():
            continue
        part = judge_auroc(y, expit(reference), expit(candidate), units, policy)
        hits += part.outcome is Outcome.NON_INFERIOR
        if run < tenth:
            pair = auroc_pair(y, candidate, reference, units)
            lower = min(mover_from_pair(pair).lower, score_interval(pair, patients).lower)
            plain += not lower <= -margin
            cases = Cases(y, units, {}, np.arange(y.size))
            verdict = judge(cases, expit(reference - APART / 2), expit(candidate - APART / 2), policy)
            accepted += verdict.outcome is Outcome.NON_INFERIOR
    return share(
        hits, runs, margin=f"{margin:.3f}", undrawn=f"{(1 - distorted) ** patients:.4f}", plain=f"{plain / tenth:.4f}",
        accepted=f"{accepted / tenth:.4f}",
    )  # fmt: skip


def _scores(
    rng: np.random.Generator, units: np.ndarray, patients: int, distorted: float, correlation: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and both models' scores."""
    y = (rng.random(units.size) < 0.5).astype(np.int64)
    own, common = rng.normal(size=units.size), rng.normal(size=patients)[units]
    reference = np.sqrt(1 - correlation) * own + np.sqrt(correlation) * common + APART * y
    hit = (rng.random(patients) < distorted)[units]
    moved = reference + rng.normal(0, NOISE, units.size)
    return y, reference, np.where(hit, rng.normal(size=units.size) + APART / 2, moved)


def cells() -> list[Cell]:
    """The grid: that no patient at all is distorted has a chance below 0.02."""
    settings = (20, 10, 0.2), (40, 5, 0.1), (40, 5, 0.2), (40, 20, 0.1), (100, 5, 0.05), (100, 5, 0.1), (300, 2, 0.02)
    return [
        Cell("patients", at_margin, {"patients": n, "each": k, "distorted": d, "correlation": r}, 0.03)
        for (n, k, d), r in product(settings, (0.0, 0.5))
    ]
