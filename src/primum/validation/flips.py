"""Flips: cases that candidate and reference decide differently, which equal accuracies hide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from primum.errors import InputError
from primum.task import Task
from primum.validation.arrays import Bools, Floats, Ints, as_labels, as_scores, same_length
from primum.validation.cases import Cases
from primum.validation.classification import Answers
from primum.validation.decisions import NO_DECISION
from primum.validation.ordinal import farthest_if_none
from primum.validation.proportions import two_sided_z
from primum.validation.verdict import Agreement, Flip

NO_CLASS = "(none)"
"""What a candidate without a finite output decides, in words."""


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


def answers_agreement(answers: Answers) -> Agreement:
    """How closely the decisions and scores of two models of several classes or labels agree; the reference is finite.

    Over cases (MULTICLASS, ORDINAL) or known (case, label) pairs (MULTILABEL). Kappa is of the two models' decisions,
    quadratic-weighted for ORDINAL; a candidate without a decision counts as a class of its own, for ORDINAL as the
    grade farthest from the label.
    """
    cases = answers.cases
    labels, (first, second) = cases.labels, answers.calls
    known = labels >= 0
    truth, first, second = labels[known], first[known], second[known]
    changed, right, kept = first != second, first == truth, second == truth
    flips, harmful, beneficial = (int(x.sum()) for x in (changed, right & ~kept, ~right & kept))
    not_finite = int((second == NO_DECISION).sum())
    gaps = _finite_gaps(answers.reference, answers.candidate)
    if not truth.size:
        return Agreement(*gaps, 0, 0, 0, nan, nan, 0)
    if cases.task is Task.ORDINAL:
        kappa = cohens_kappa(
            _table(first, farthest_if_none(second, truth, len(cases.classes)), len(cases.classes)), "quadratic"
        )
    else:
        size = 2 if cases.task is Task.MULTILABEL else len(cases.classes)
        kappa = cohens_kappa(_table(first, np.where(second == NO_DECISION, size, second), size + 1))
    return Agreement(*gaps, flips, harmful, beneficial, flips / truth.size, kappa.estimate, not_finite)


def answers_flips(answers: Answers) -> tuple[Flip, ...]:
    """Every decision that the candidate changed, in the order of the cases; labels that are not known have none."""
    cases = answers.cases
    labels, (first, second) = cases.labels, answers.calls
    places = np.argwhere((first != second) & (labels >= 0))
    if cases.task is Task.MULTILABEL:
        return tuple(
            _flip(
                cases, i, int(labels[i, k]), answers.reference[i, k], answers.candidate[i, k],
                bool(first[i, k] == labels[i, k]), view=cases.classes[k],
            )
            for i, k in places
        )  # fmt: skip
    names = (*cases.classes, NO_CLASS)
    return tuple(
        _flip(
            cases, i, int(labels[i]), answers.reference[i, labels[i]], answers.candidate[i, labels[i]],
            bool(first[i] == labels[i]),
            reference_decision=names[first[i]], candidate_decision=names[second[i]],
        )
        for (i,) in places
    )  # fmt: skip


def moved_agreement(reference: Floats, candidate: Floats, harmful: Bools, beneficial: Bools, known: bool) -> Agreement:
    """How closely values or Dice (N, D) agree, over cases and outputs; `known` says whether flips are defined."""
    worse, better = int(harmful.sum()), int(beneficial.sum())
    churn = (worse + better) / harmful.size if known and harmful.size else nan
    broken = int((~np.isfinite(candidate)).sum())
    return Agreement(*_finite_gaps(reference, candidate), worse + better, worse, better, churn, nan, broken)


def moved_flips(
    cases: Cases,
    names: Sequence[str],
    truth: Floats,
    scores: tuple[Floats, Floats],
    harmful: Bools,
    beneficial: Bools,
) -> tuple[Flip, ...]:
    """Every case and output of `harmful` or `beneficial` (N, D), with its true value and both scores (N, D)."""
    return tuple(
        _flip(cases, i, float(truth[i, d]), scores[0][i, d], scores[1][i, d], bool(harmful[i, d]), view=names[d])
        for i, d in np.argwhere(harmful | beneficial)
    )


def _flip(
    cases: Cases, i: int, label: int | float, reference: float, candidate: float, harmful: bool, **more: str
) -> Flip:
    groups = {name: str(values[i]) for name, values in cases.groups.items()}
    return Flip(str(cases.case_ids[i]), label, float(reference), float(candidate), harmful, groups, **more)


def _finite_gaps(reference: Floats, candidate: Floats) -> tuple[float, float]:
    """Largest and mean |difference| over the pairs that are finite; NaN where none is."""
    gaps = np.abs(candidate - reference)
    gaps = gaps[np.isfinite(gaps)]
    return (float(gaps.max()), float(gaps.mean())) if gaps.size else (nan, nan)


def _table(first: Ints, second: Ints, size: int) -> Floats:
    counts = np.bincount(size * first + second, minlength=size * size).reshape(size, size)
    return counts.astype(np.float64)


def _agreement_weights(levels: int, weights: str) -> Floats:
    if weights == "none" or levels < 2:
        return np.eye(levels)
    gap = np.abs(np.subtract.outer(np.arange(levels), np.arange(levels))) / (levels - 1)
    return np.asarray(1 - (gap if weights == "linear" else gap**2), dtype=np.float64)
