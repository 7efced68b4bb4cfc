"""The whole gate with one endpoint at its margin and the others well inside."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, stdtrit
from scipy.stats import norm

from primum.config import ClinicalPolicy, Margins
from primum.validation.cases import Cases
from primum.validation.gate import judge
from primum.validation.verdict import Outcome
from simulation.auroc import auroc_passes, unseen
from simulation.cell import CHECKED, Cell, Result, chunks, insist, share
from simulation.rates import SENSITIVITY, passes

MEAN = float(norm.ppf(SENSITIVITY))
"""Scores are normal about +/- this: sensitivity and specificity 0.9, AUROC 0.965; expit(2 MEAN x) is calibrated."""
AUROC = float(norm.cdf(np.sqrt(2) * MEAN))
MARGINS = {
    "sensitivity": Margins(sensitivity=0.05, specificity=0.1, auroc=0.05, brier=0.05),
    "specificity": Margins(sensitivity=0.1, specificity=0.05, auroc=0.05, brier=0.05),
    "auroc": Margins(sensitivity=0.15, specificity=0.15, auroc=0.02, brier=0.05),
    "brier": Margins(sensitivity=0.1, specificity=0.1, auroc=0.05, brier=0.01),
}


def candidate_of(endpoint: str) -> tuple[float, float, float]:
    """(mean, shift, steepness) of a candidate with `endpoint` lower by exactly its margin."""
    margin = MARGINS[endpoint].value(endpoint)
    if endpoint == "auroc":
        return float(norm.ppf(AUROC - margin) / np.sqrt(2)), 0.0, 1.0
    if endpoint == "brier":
        return MEAN, 0.0, _overconfident(margin)
    shift = MEAN - float(norm.ppf(SENSITIVITY - margin))
    return MEAN, shift if endpoint == "sensitivity" else -shift, 1.0


def _overconfident(margin: float) -> float:
    """The factor on the logit that raises the Brier score by `margin`."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)

    def brier(factor: float) -> float:
        return float(weights @ (1 - expit(2 * MEAN * factor * (nodes + MEAN))) ** 2 / weights.sum())

    return float(brentq(lambda k: brier(k) - brier(1.0) - margin, 1.0, 50.0))


def whole(
    rng: np.random.Generator, runs: int, *, endpoint: str, cases: int, prevalence: float, correlation: float
) -> Result:
    """Type I error of one endpoint, and of the verdict: the whole gate judges every run that the endpoint passes."""
    mean, shift, steepness = candidate_of(endpoint)
    policy = ClinicalPolicy(margins=MARGINS[endpoint])
    names = np.arange(cases).astype(str)
    hits, accepted = 0, 0
    for size in chunks(runs, cases):
        positive = rng.random((size, cases)) < prevalence
        side = np.where(positive, 1.0, -1.0)
        one, other = rng.normal(size=side.shape), rng.normal(size=side.shape)
        reference = one + MEAN * side
        candidate = correlation * one + np.sqrt(1 - correlation**2) * other + mean * side - shift
        passed = _passes(endpoint, positive, reference, candidate, steepness)
        scores = expit(2 * MEAN * reference), expit(2 * MEAN * steepness * candidate)
        hits += int(passed.sum())
        for row in np.unique(np.r_[np.flatnonzero(passed), np.arange(min(size, CHECKED // 5))]):
            found = judge(Cases(positive[row].astype(int), names, {}, names), scores[0][row], scores[1][row], policy)
            part = next(part for part in found.components if part.name == endpoint)
            insist((part.outcome is Outcome.NON_INFERIOR) == bool(passed[row]), f"{endpoint} in the whole gate")
            accepted += int(passed[row] and found.outcome is Outcome.NON_INFERIOR)
    return share(hits, runs, accepted=f"{accepted / runs:.4f}")


def _passes(
    endpoint: str, positive: np.ndarray, reference: np.ndarray, candidate: np.ndarray, steepness: float
) -> np.ndarray:
    margin = MARGINS[endpoint].value(endpoint)
    if endpoint == "auroc":
        return auroc_passes(positive, candidate, reference, margin)[0]
    if endpoint == "brier":
        before = (expit(2 * MEAN * reference) - positive) ** 2
        worse = before - (expit(2 * MEAN * steepness * candidate) - positive) ** 2
        n = positive.shape[1]
        deviation = worse.std(axis=1, ddof=1)
        skewness = ((worse - worse.mean(axis=1, keepdims=True)) ** 3).mean(axis=1) / worse.std(axis=1) ** 3
        reach = stdtrit(n - 1, 0.975) / np.sqrt(n)
        halls = 3 / skewness * (np.cbrt(1 + skewness * (reach - skewness / (6 * n))) - 1)
        mean = worse.mean(axis=1)
        lowest = unseen(mean, deviation / np.sqrt(n), np.maximum(1.0, -worse.min(axis=1)), np.full(len(mean), n))
        return np.minimum(mean - deviation * np.maximum(reach, halls), lowest) > -margin
    member = positive if endpoint == "sensitivity" else ~positive
    said = [(scores >= 0) == positive for scores in (reference, candidate)]
    lost, gained = (said[0] & ~said[1] & member).sum(axis=1), (~said[0] & said[1] & member).sum(axis=1)
    return passes(member.sum(axis=1), lost, gained, margin)


def cells() -> list[Cell]:
    """The grid."""
    return [
        Cell(
            "gate",
            whole,
            {"endpoint": e, "cases": c, "prevalence": p, "correlation": r},
            0.03 if e in ("auroc", "brier") else 0.028,
        )
        for e, c, p, r in product(MARGINS, (600,), (0.2, 0.5), (0.9, 0.98))
    ]
