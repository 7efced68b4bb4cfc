"""AUROC at its margin on binormal scores: MOVER-logit, score and unseen loss's bounds, vectorised over runs."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.special import expit, logit, stdtrit
from scipy.stats import norm

from primum.config import ClinicalPolicy, Margins
from primum.validation.auroc import auroc_pair
from primum.validation.auroc_bounds import mover_from_pair
from primum.validation.proportions import two_sided_z
from primum.validation.scores import judge_auroc
from primum.validation.verdict import Outcome
from simulation.cell import CHECKED, Cell, Result, chunks, insist, share

Z = two_sided_z(0.95)


def placed(positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(R, N) placement values of scores without ties: a positive's share of negatives below it, a negative's share of
    positives above it."""
    order = np.argsort(scores, axis=1)
    ranked = np.take_along_axis(positive, order, axis=1)
    above = np.cumsum(ranked[:, ::-1], axis=1)[:, ::-1]
    below = np.cumsum(~ranked, axis=1)
    m = positive.sum(axis=1, keepdims=True)
    values = np.where(ranked, below / (positive.shape[1] - m), above / m)
    found = np.empty(scores.shape)
    np.put_along_axis(found, order, values, axis=1)
    return found


def unseen(mean: np.ndarray, error: np.ndarray, worst: np.ndarray | float, n: np.ndarray) -> np.ndarray:
    """(R,) bounds of `UnseenLoss` from mean gains and their standard errors, of n patients each."""
    t, square = stdtrit(np.maximum(n - 1, 1), 0.975), error**2 * (n - 1)
    middle = t * t * (worst + mean - square / (worst + mean))
    root = np.sqrt(middle**2 + 4 * (n + t * t) * t * t * square)
    return np.asarray(mean - (middle + root) / (2 * (n + t * t)))


def bounds(
    positive: np.ndarray, candidate: np.ndarray, reference: np.ndarray, margin: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(R,) MOVER-logit and DeLong lower bounds of candidate - reference, NaN where primum sees a special case, and
    whether the score test rejects every difference on a path from -AUROC of the reference to -margin, and that of a
    loss that no case shows rejects -margin too."""
    m = positive.sum(axis=1).astype(float)
    n = positive.shape[1] - m
    a, b = placed(positive, candidate), placed(positive, reference)
    with np.errstate(all="ignore"):
        auc_a, auc_b = (np.where(positive, x, 0).sum(axis=1) / m for x in (a, b))
        off = [x - auc[:, None] for x, auc in ((a, auc_a), (b, auc_b))]

        def covariance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            both = x * y
            held = np.where(positive, both, 0).sum(axis=1)
            return np.asarray(held / (m - 1) / m + (both.sum(axis=1) - held) / (n - 1) / n)

        var_a, var_b, cov = covariance(off[0], off[0]), covariance(off[1], off[1]), covariance(off[0], off[1])
        var = covariance(off[0] - off[1], off[0] - off[1])
        special = (np.minimum(m, n) < 2) | (np.minimum(var_a, var_b) <= 0) | ~(var > 1e-14 * np.maximum(var_a, var_b))
        special |= np.isin(auc_a, (0.0, 1.0)) | np.isin(auc_b, (0.0, 1.0))
        r = np.clip(cov / np.sqrt(var_a * var_b), -1, 1)
        down = auc_a - expit(logit(auc_a) - Z * np.sqrt(var_a) / (auc_a * (1 - auc_a)))
        up = expit(logit(auc_b) + Z * np.sqrt(var_b) / (auc_b * (1 - auc_b))) - auc_b
        mover = auc_a - auc_b - np.sqrt(np.maximum(down**2 - 2 * r * down * up + up**2, 0))
        delong = auc_a - auc_b - Z * np.sqrt(var)
        at = np.maximum(auc_b - margin, 0)[:, None] * np.r_[np.linspace(0, 0.9, 10), np.linspace(0.91, 1, 40)]
        kept = at * (1 - at) / (auc_a * (1 - auc_a))[:, None]
        null = var_a[:, None] * kept + var_b[:, None] - 2 * cov[:, None] * np.sqrt(kept)
        t = stdtrit(np.maximum(np.minimum(m, n) - 1, 1), 0.975)[:, None]
        rejected = (auc_a[:, None] - at > t * np.sqrt(np.maximum(null, 0))).all(axis=1) & (auc_a - auc_b > -margin)
        lowest = np.minimum(*(unseen(auc_a - auc_b, np.sqrt(var), auc_b, own) for own in (m, n)))
        rejected &= lowest > -margin
    return np.where(special, np.nan, mover), np.where(special, np.nan, delong), rejected


def auroc_passes(
    positive: np.ndarray, candidate: np.ndarray, reference: np.ndarray, margin: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(R,) whether each run is NON_INFERIOR, and whether DeLong's or the MOVER-logit bound alone would say so; special
    cases by primum."""
    mover, delong, rejected = bounds(positive, candidate, reference, margin)
    passed = (mover > -margin) & rejected
    policy = ClinicalPolicy(margins=Margins(auroc=margin))
    for row in np.flatnonzero(np.isnan(mover)):
        units = np.arange(positive.shape[1])
        part = judge_auroc(positive[row].astype(np.int64), expit(reference[row]), expit(candidate[row]), units, policy)
        passed[row] = part.outcome is Outcome.NON_INFERIOR
    for row in range(min(CHECKED // 4, len(mover))):
        check(positive[row], candidate[row], reference[row], mover[row], bool(passed[row]), policy)
    return passed, delong > -margin, np.where(np.isnan(mover), passed, mover > -margin)


def check(
    positive: np.ndarray,
    candidate: np.ndarray,
    reference: np.ndarray,
    lower: float,
    passed: bool,
    policy: ClinicalPolicy,
) -> None:
    """One run against primum's interval and endpoint."""
    labels = positive.astype(np.int64)
    own = mover_from_pair(auroc_pair(labels, candidate, reference)).lower
    insist(
        bool(np.isclose(own, lower, rtol=0, atol=1e-9, equal_nan=True)), f"MOVER-logit bound {lower}, primum's {own}"
    )
    part = judge_auroc(labels, expit(reference), expit(candidate), np.arange(labels.size), policy)
    insist((part.outcome is Outcome.NON_INFERIOR) == passed, "AUROC's outcome")


def at_margin(
    rng: np.random.Generator, runs: int, *, auroc: float, margin: float, classes: str, correlation: float
) -> Result:
    """Type I error: binormal scores, the candidate's AUROC lower by exactly the margin."""
    m, n = (int(part) for part in classes.split("/"))
    means = [np.sqrt(2) * norm.ppf(auc) for auc in (auroc, auroc - margin)]
    hits = np.zeros(3, dtype=np.int64)
    for size in chunks(runs, m + n):
        positive = np.tile(np.arange(m + n) < m, (size, 1))
        one, other = rng.normal(size=positive.shape), rng.normal(size=positive.shape)
        reference = one + means[0] * positive
        candidate = correlation * one + np.sqrt(1 - correlation**2) * other + means[1] * positive
        hits += [int(found.sum()) for found in auroc_passes(positive, candidate, reference, margin)]
    return share(int(hits[0]), runs, delong=f"{hits[1] / runs:.4f}", mover=f"{hits[2] / runs:.4f}")


def cells() -> list[Cell]:
    """The grid."""
    return [
        Cell("auroc", at_margin, {"auroc": a, "margin": m, "classes": c, "correlation": r}, 0.04 if a >= 0.98 else 0.03)
        for (a, m), c, r in product(
            ((0.85, 0.03), (0.9, 0.02), (0.95, 0.02), (0.98, 0.01), (0.99, 0.01)),
            ("20/200", "100/100", "50/500", "200/1000"),
            (0.5, 0.9),
        )
    ]
