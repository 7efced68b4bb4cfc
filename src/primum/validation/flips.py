"""Flips: cases that candidate and reference decide differently, which equal accuracies hide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from primum.errors import InputError
from primum.validation.arrays import Floats, Ints, as_labels, as_scores, same_length
from primum.validation.proportions import two_sided_z
from primum.validation.verdict import Agreement, Flip


@dataclass(frozen=True, slots=True)
class FlipCounts:
    """Positions of the flipped cases and the rates they make; every rate is a share of all cases."""

    n: int
    harmful: tuple[int, ...]
    """The reference was right and the candidate is wrong."""
    beneficial: tuple[int, ...]
    flips: int
    churn: float
    negative_flip_rate: float
    reference_accuracy: float
    candidate_accuracy: float


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa with its large-sample standard error and interval."""

    estimate: float
    lower: float
    upper: float
    standard_error: float
    confidence: float


def decide(scores: Floats, threshold: float, labels: Ints) -> Ints:
    """Decisions (N,): 1 where score >= threshold; a score that is not finite decides against its label."""
    finite = np.isfinite(scores)
    above = np.where(finite, scores, 0.0) >= threshold
    return np.where(finite, above, labels == 0).astype(np.int64)


def count_flips(labels: ArrayLike, reference: ArrayLike, candidate: ArrayLike) -> FlipCounts:
    """Flips between two vectors of 0/1 decisions (N,). InputError on lengths that differ or other values."""
    truth = as_labels(labels)
    first, second = as_labels(reference, "reference decisions"), as_labels(candidate, "candidate decisions")
    for decisions, name in ((first, "reference decisions"), (second, "candidate decisions")):
        same_length(decisions, truth.size, name)
    right, kept = first == truth, second == truth
    harmful, beneficial = np.flatnonzero(right & ~kept), np.flatnonzero(~right & kept)
    n, flips = truth.size, harmful.size + beneficial.size
    return FlipCounts(
        n, tuple(harmful.tolist()), tuple(beneficial.tolist()), flips, flips / n, harmful.size / n,
        float(right.mean()), float(kept.mean()),
    )  # fmt: skip


def cohens_kappa(
    table: ArrayLike, weights: Literal["none", "linear", "quadratic"] = "none", confidence: float = 0.95
) -> Kappa:
    """Cohen's kappa of a (K, K) table of counts, standard error after Fleiss, Cohen and Everitt (1969).

    NaN where chance agreement is complete (both raters always say the same). InputError unless the table is
    square with counts >= 0 and some case.
    """
    counts = np.asarray(table, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or (counts < 0).any() or not counts.sum() > 0:
        raise InputError(f"kappa needs a square table of counts, got shape {counts.shape}")
    total = float(counts.sum())
    p = counts / total
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    w = _agreement_weights(len(p), weights)
    observed, chance = float((w * p).sum()), float(rows @ w @ columns)
    if 1 - chance < 1e-12:
        return Kappa(nan, nan, nan, nan, confidence)
    kappa = (observed - chance) / (1 - chance)
    mean_weight = (w @ columns)[:, None] + (rows @ w)[None, :]
    spread = float((p * (w * (1 - chance) - mean_weight * (1 - observed)) ** 2).sum())
    centre = (observed * chance - 2 * chance + observed) ** 2
    error = sqrt(max(0.0, spread - centre) / total) / (1 - chance) ** 2
    half = two_sided_z(confidence) * error
    return Kappa(kappa, kappa - half, kappa + half, error, confidence)


def agreement(labels: ArrayLike, reference: ArrayLike, candidate: ArrayLike, threshold: float) -> Agreement:
    """How closely two score vectors (N,) agree; score differences are over the finite pairs.

    A candidate output that is not finite counts as a wrong decision. Cases without a finite reference are
    left out of the decisions: there is nothing to agree with. With no case left every figure is NaN.
    """
    truth = as_labels(labels, allow_empty=True)
    ref = as_scores(reference, truth.size, "reference scores", finite=False)
    new = as_scores(candidate, truth.size, "candidate scores", finite=False)
    not_finite = int((~np.isfinite(new)).sum())
    known = np.isfinite(ref)
    if not known.any():
        return Agreement(nan, nan, 0, 0, 0, nan, nan, not_finite)
    first, second = (decide(s[known], threshold, truth[known]) for s in (ref, new))
    counts = count_flips(truth[known], first, second)
    table = np.bincount(2 * first + second, minlength=4).reshape(2, 2)
    gaps = np.abs(new - ref)[known & np.isfinite(new)]
    largest, mean = (float(gaps.max()), float(gaps.mean())) if gaps.size else (nan, nan)
    return Agreement(
        largest, mean, counts.flips, len(counts.harmful), len(counts.beneficial), counts.churn,
        cohens_kappa(table).estimate, not_finite,
    )  # fmt: skip


def list_flips(
    labels: Ints,
    reference: Floats,
    candidate: Floats,
    threshold: float,
    case_ids: NDArray[Any] | Sequence[str],
    groups: Mapping[str, NDArray[Any]] | None = None,
) -> tuple[Flip, ...]:
    """Every flipped case, in the order of the cases; those without a finite reference are not flips."""
    first, second = (decide(s, threshold, labels) for s in (reference, candidate))
    flipped = np.flatnonzero((first != second) & np.isfinite(reference))
    return tuple(
        Flip(
            case_id=str(case_ids[i]),
            label=int(labels[i]),
            reference_score=float(reference[i]),
            candidate_score=float(candidate[i]),
            harmful=bool(first[i] == labels[i]),
            groups={name: str(values[i]) for name, values in (groups or {}).items()},
        )
        for i in flipped
    )


def _agreement_weights(levels: int, weights: str) -> Floats:
    if weights == "none" or levels < 2:
        return np.eye(levels)
    gap = np.abs(np.subtract.outer(np.arange(levels), np.arange(levels))) / (levels - 1)
    return np.asarray(1 - (gap if weights == "linear" else gap**2), dtype=np.float64)
